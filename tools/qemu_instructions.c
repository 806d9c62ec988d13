/* A plugin for qemu-user: counts the instructions that the emulated program executes.
 *
 *   cc -shared -fPIC -O2 tools/qemu_instructions.c -o build/qemu_instructions.so
 *   qemu-aarch64 -plugin build/qemu_instructions.so PROGRAM      ends with "instructions: N"
 *
 * The interface is QEMU's TCG plugin API, version 1 (docs/devel/tcg-plugins.rst), of which these
 * are the few declarations that counting takes; distributions do not package its header. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

typedef uint64_t PluginId;
typedef struct qemu_plugin_tb Block;

void qemu_plugin_register_vcpu_tb_trans_cb(PluginId id, void (*callback)(PluginId, Block*));
size_t qemu_plugin_tb_n_insns(const Block* block);
void qemu_plugin_register_vcpu_tb_exec_inline(Block* block, int operation, void* counter, uint64_t value);
void qemu_plugin_register_atexit_cb(PluginId id, void (*callback)(PluginId, void*), void* data);

enum { kAddU64 = 0 }; /* the only operation there is */

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t instructions;

static void on_translation(PluginId id, Block* block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, kAddU64, &instructions, qemu_plugin_tb_n_insns(block));
}

static void on_exit_of_program(PluginId id, void* data) {
  (void)id;
  (void)data;
  fprintf(stderr, "instructions: %" PRIu64 "\n", instructions);
}

__attribute__((visibility("default"))) int qemu_plugin_install(PluginId id, const void* info, int count,
                                                                char** arguments) {
  (void)info;
  (void)count;
  (void)arguments;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, on_exit_of_program, NULL);
  return 0;
}
