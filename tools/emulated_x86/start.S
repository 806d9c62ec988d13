# From a boot loader (Multiboot 1, 32-bit protected mode) to C in 64-bit mode.
        .set MAGIC, 0x1badb002
        .set FLAGS, 0x3                       # modules on pages; what memory there is
        .section .multiboot, "a"
        .align 4
        .long MAGIC, FLAGS, -(MAGIC + FLAGS)

        .text
        .code32
        .global _start
_start: cli
        movl    $kernel_stack_end, %esp
        movl    %ebx, %edi                    # what the loader tells: first argument of kernel_main
        movl    $page_directories, %eax       # two GB, each address its own, in pages of 2 MB
        orl     $7, %eax
        movl    %eax, page_pointers
        addl    $4096, %eax
        movl    %eax, page_pointers + 8
        movl    $page_pointers, %eax
        orl     $7, %eax
        movl    %eax, page_root
        movl    $page_directories, %edx
        movl    $0x87, %eax
        movl    $1024, %ecx
1:      movl    %eax, (%edx)
        movl    $0, 4(%edx)
        addl    $0x200000, %eax
        addl    $8, %edx
        loop    1b
        movl    $page_root, %eax
        movl    %eax, %cr3
        movl    $0x406a0, %eax                # PAE, PGE, OSFXSR, OSXMMEXCPT, OSXSAVE
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx             # EFER: long mode, syscall
        rdmsr
        orl     $0x101, %eax
        wrmsr
        movl    $0x80010033, %eax             # paging, numeric errors, extension type, monitor, protection
        movl    %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $8, $long_mode

        .code64
long_mode:
        movw    $16, %ax
        movw    %ax, %ss
        movw    %ax, %ds
        movw    %ax, %es
        xorl    %ecx, %ecx                    # XCR0: x87, SSE, AVX, masks and all of ZMM
        xorl    %edx, %edx
        movl    $0xe7, %eax
        xsetbv
        call    kernel_main
0:      hlt
        jmp     0b

# run_program(entry, stack): does not return.
        .global run_program
run_program:
        movq    %rsi, %rsp
        xorl    %edx, %edx
        xorl    %ebp, %ebp
        jmp     *%rdi

# Where `syscall` arrives, on the program's stack, whose red zone must stay as it is.
        .global system_call_entry
system_call_entry:
        movq    %rsp, program_stack(%rip)
        leaq    kernel_stack_end(%rip), %rsp
        pushq   %rcx
        pushq   %r11
        pushq   %rdi
        pushq   %rsi
        pushq   %rdx
        pushq   %r8
        pushq   %r9
        pushq   %r10
        movq    %r8, %r9
        movq    %r10, %r8
        movq    %rdx, %rcx
        movq    %rsi, %rdx
        movq    %rdi, %rsi
        movq    %rax, %rdi
        call    system_call
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdx
        popq    %rsi
        popq    %rdi
        popq    %r11
        popq    %rcx
        movq    program_stack(%rip), %rsp
        jmp     *%rcx

        .global exception_entry
exception_entry:
        movq    %rsp, %rdi
        leaq    kernel_stack_end(%rip), %rsp
        movq    %cr2, %rsi
        call    exception

        .data
        .align 8
gdt:    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word . - gdt - 1
        .quad gdt
        .lcomm program_stack, 8

        .bss
        .align 4096
page_root:
        .skip 4096
page_pointers:
        .skip 4096
        .global page_directories
page_directories:
        .skip 8192
        .skip 65536
kernel_stack_end:

        .section .note.GNU-stack, "", @progbits
