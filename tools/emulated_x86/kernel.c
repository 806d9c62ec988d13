// The least of Linux that a static program of one thread needs, on a bare x86-64 machine: it loads
// the program that the boot loader brought, answers its system calls, prints on the serial line
// what it writes, and ends the machine with it. So ../emulated_x86.sh runs programs in emulators of
// whole machines without the minutes in which those start Linux.
#include <asm/prctl.h>
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>

typedef uint64_t u64;

// Where things lie; this code and its program are below, what the boot loader brought too. What is
// mapped has small pages, each of which may be hidden.
#define MIB(number) ((number) << 20)
enum {
  kPage = 4096,
  kHugePage = MIB(2),
  kHeap = MIB(64),
  kHeapEnd = MIB(128),
  kMaps = MIB(128),
  kMapsEnd = MIB(256),
  kStackEnd = MIB(272),
  kMaxWords = 16,
};

static const uint16_t kSerial = 0x3f8, kBochsShutdown = 0x8900;

struct Multiboot {
  uint32_t flags, memory[2], boot_device, command_line, module_count, modules;
};
struct Module {
  uint32_t begin, end, command_line, reserved;
};

extern u64 page_directories[];  // of 2 MiB a row, every address its own
void system_call_entry(void);
void exception_entry(void);
_Noreturn void run_program(u64 entry, u64 stack);

static u64 heap_top = kHeap, maps_top = kMaps;
static u64 small_pages[(kMapsEnd - kMaps) / kPage] __attribute__((aligned(kPage)));

// The compiler may call these two.
void* memset(void* to, int value, size_t bytes) {
  void* at = to;
  __asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(value) : "memory");
  return to;
}

void* memcpy(void* to, const void* from, size_t bytes) {
  void* at = to;
  __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(bytes) : : "memory");
  return to;
}

static void out(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static void write_register(uint32_t which, u64 value) {
  __asm__ volatile("wrmsr" : : "c"(which), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static void print(const char* text, u64 bytes) {
  for (u64 i = 0; i < bytes; ++i) {
    while (!(in(kSerial + 5) & 0x20)) {  // room for a byte
    }
    out(kSerial, (uint8_t)text[i]);
  }
}

static void say(const char* text) {
  u64 bytes = 0;
  while (text[bytes]) ++bytes;
  print(text, bytes);
}

static void say_number(const char* what, u64 number) {
  char digits[16];
  for (int i = 0; i < 16; ++i) digits[i] = "0123456789abcdef"[number >> (60 - 4 * i) & 15];
  say(what);
  print(digits, sizeof digits);
  say("\n");
}

static _Noreturn void end(void) {
  while (!(in(kSerial + 5) & 0x40)) {  // until all bytes are on the line
  }
  for (const char* c = "Shutdown"; *c; ++c) out(kBochsShutdown, (uint8_t)*c);
  for (;;) __asm__ volatile("hlt");
}

_Noreturn void exception(const u64* pushed, u64 address) {
  say("EXCEPTION\n");
  for (int i = 0; i < 4; ++i) say_number("  pushed  ", pushed[i]);
  say_number("  address ", address);
  end();
}

static u64 whole_pages(u64 bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}

static u64 map_memory(u64 bytes) {
  bytes = whole_pages(bytes);
  if (bytes > kMapsEnd - maps_top) return (u64)-ENOMEM;
  const u64 begin = maps_top;
  maps_top += bytes;
  return (u64)memset((void*)begin, 0, bytes);
}

static void protect(u64 begin, u64 bytes, int readable) {
  for (u64 at = begin; at < begin + bytes; at += kPage) {
    if (at < kMaps || at >= kMapsEnd) continue;
    u64* page = &small_pages[(at - kMaps) / kPage];
    *page = readable ? *page | 1 : *page & ~(u64)1;
    __asm__ volatile("invlpg (%0)" : : "r"(at) : "memory");
  }
}

// What was mapped last can be mapped again, nothing else.
static void unmap(u64 begin, u64 bytes) {
  protect(begin, bytes, 1);
  if (begin + whole_pages(bytes) == maps_top) maps_top = begin;
}

static u64 write_vectors(const u64* vectors, u64 count) {
  u64 written = 0;
  for (u64 i = 0; i < count; ++i) {
    print((const char*)vectors[2 * i], vectors[2 * i + 1]);
    written += vectors[2 * i + 1];
  }
  return written;
}

static u64 describe_terminal(u64 address) {
  struct stat* file = memset((void*)address, 0, sizeof(struct stat));
  file->st_mode = S_IFCHR | 0600;
  return 0;
}

// Called by system_call_entry, in Linux's order of arguments.
u64 system_call(u64 number, u64 a, u64 b, u64 c, u64 d) {
  switch (number) {
    case SYS_write:
      print((const char*)b, c);
      return c;
    case SYS_writev:
      return write_vectors((const u64*)b, c);
    case SYS_fstat:
      return describe_terminal(b);
    case SYS_newfstatat:
      return describe_terminal(c);
    case SYS_brk:
      if (a >= kHeap && a <= kHeapEnd) heap_top = a;
      return heap_top;
    case SYS_mmap:
      return map_memory(b);
    case SYS_mprotect:
      protect(a, b, (c & 1) != 0);
      return 0;
    case SYS_munmap:
      unmap(a, b);
      return 0;
    case SYS_arch_prctl:
      if (a != ARCH_SET_FS) return (u64)-EINVAL;
      write_register(0xc0000100, b);
      return 0;
    case SYS_prlimit64:  // nothing is limited
      if (d) memset((void*)d, 0xff, 16);
      return 0;
    case SYS_getrandom:
      memset((void*)a, 0x5a, b);
      return b;
    case SYS_ioctl:
      return (u64)-ENOTTY;
    case SYS_readlink:
    case SYS_readlinkat:
      return (u64)-ENOENT;
    case SYS_getpid:
    case SYS_gettid:
    case SYS_set_tid_address:
      return 1;
    case SYS_rt_sigaction:
    case SYS_rt_sigprocmask:
    case SYS_futex:
    case SYS_set_robust_list:
      return 0;
    case SYS_rseq:
      return (u64)-ENOSYS;
    case SYS_exit:
    case SYS_exit_group:
      say_number("EXIT ", a);
      end();
    case SYS_tkill:
    case SYS_tgkill:
      say("KILLED ITSELF\n");
      end();
    default:
      say_number("no such system call here: ", number);
      return (u64)-ENOSYS;
  }
}

static void take_exceptions(void) {
  static struct {
    uint16_t low, selector, kind, middle;
    uint32_t high, zero;
  } table[32];
  static struct __attribute__((packed)) {
    uint16_t limit;
    u64 base;
  } pointer = {sizeof table - 1, 0};
  const u64 entry = (u64)exception_entry;
  for (int i = 0; i < 32; ++i) {
    table[i].low = (uint16_t)entry, table[i].middle = (uint16_t)(entry >> 16);
    table[i].high = (uint32_t)(entry >> 32);
    table[i].selector = 8, table[i].kind = 0x8e00;
  }
  pointer.base = (u64)table;
  __asm__ volatile("lidt %0" : : "m"(pointer));
}

static void take_system_calls(void) {
  write_register(0xc0000081, (u64)8 << 32);  // STAR: the code segment
  write_register(0xc0000082, (u64)system_call_entry);
  write_register(0xc0000084, 0x300);  // flags that are off there: interrupts, single steps
}

static void make_small_pages(void) {
  const u64 kPresent = 7;
  for (u64 at = kMaps; at < kMapsEnd; at += kPage) {
    small_pages[(at - kMaps) / kPage] = at | kPresent;
  }
  for (u64 at = kMaps; at < kMapsEnd; at += kHugePage) {
    page_directories[at / kHugePage] = (u64)&small_pages[(at - kMaps) / kPage] | kPresent;
  }
  __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
}

// Copies a program's segments to where it wants them; the address of its program headers there.
static u64 load(const Elf64_Ehdr* file) {
  const Elf64_Phdr* segment = (const Elf64_Phdr*)((u64)file + file->e_phoff);
  u64 headers = 0;
  for (int i = 0; i < file->e_phnum; ++i, ++segment) {
    if (segment->p_type != PT_LOAD) continue;
    memcpy((void*)segment->p_vaddr, (void*)((u64)file + segment->p_offset), segment->p_filesz);
    memset((void*)(segment->p_vaddr + segment->p_filesz), 0, segment->p_memsz - segment->p_filesz);
    if (segment->p_offset == 0) headers = segment->p_vaddr + file->e_phoff;
  }
  return headers;
}

// The addresses of the words of a text, which it cuts apart; returns how many there are.
static u64 split(char* text, u64* words) {
  u64 count = 0;
  while (count < kMaxWords) {
    while (*text == ' ') *text++ = 0;
    if (!*text) break;
    words[count++] = (u64)text;
    while (*text && *text != ' ') ++text;
  }
  return count;
}

// boot: what a Multiboot loader tells; its first module is the program, with its arguments.
_Noreturn void kernel_main(const struct Multiboot* boot) {
  out(kSerial + 1, 0), out(kSerial + 3, 3);  // no interrupts, 8 bits
  take_exceptions();
  take_system_calls();
  make_small_pages();
  if (!boot->module_count) {
    say("NO PROGRAM\n");
    end();
  }
  const struct Module* module = (const struct Module*)(u64)boot->modules;
  const Elf64_Ehdr* file = (const Elf64_Ehdr*)(u64)module->begin;
  u64 words[kMaxWords];
  const u64 count = split((char*)(u64)module->command_line, words);
  u64* const stack = (u64*)(u64)(kStackEnd - kPage);
  u64* top = stack;
  *top++ = count;
  for (u64 i = 0; i < count; ++i) *top++ = words[i];
  *top++ = 0;
  *top++ = 0;  // no environment
  const Elf64_auxv_t auxiliary[] = {
      {AT_PAGESZ, {kPage}},           {AT_ENTRY, {file->e_entry}},
      {AT_PHDR, {load(file)}},        {AT_PHENT, {sizeof(Elf64_Phdr)}},
      {AT_PHNUM, {file->e_phnum}},    {AT_SECURE, {0}},
      {AT_RANDOM, {kStackEnd - 256}}, {AT_NULL, {0}},
  };
  memcpy(top, auxiliary, sizeof auxiliary);
  run_program(file->e_entry, (u64)stack);
}
