/* Answers the `cpuid` instructions of ONNX Runtime as a processor with AVX2 and nothing newer does.
 *
 * Loaded twice: as LD_AUDIT it sees each library before any of its code runs, and replaces the instructions at the
 * places that the file MELLUM_LSP_CPUID lists (`name address`, in hexadecimal) by `ud2`, which is as long and raises
 * SIGILL; as LD_PRELOAD it answers that signal, and lets nothing else take it.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define BIT(n) (1u << (n))
static const uint8_t CPUID[] = {0x0f, 0xa2}, UD2[] = {0x0f, 0x0b};

unsigned int la_version(unsigned int version) { return version; }

static void replace(uint8_t *at) {
  uintptr_t page = sysconf(_SC_PAGESIZE), start = (uintptr_t)at & ~(page - 1);
  size_t size = ((uintptr_t)at + 2 > start + page ? 2 : 1) * page;
  if (mprotect((void *)start, size, PROT_READ | PROT_WRITE | PROT_EXEC)) abort();
  if (memcmp(at, CPUID, 2)) abort(); /* another version of the library than the list is of */
  memcpy(at, UD2, 2);
  if (mprotect((void *)start, size, PROT_READ | PROT_EXEC)) abort();
}

unsigned int la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie) {
  const char *list = getenv("MELLUM_LSP_CPUID"), *slash = strrchr(map->l_name, '/');
  FILE *file = list && slash && strstr(map->l_name, "onnxruntime") ? fopen(list, "r") : NULL;
  if (file) {
    char name[256];
    unsigned long address;
    while (fscanf(file, "%255s %lx", name, &address) == 2)
      if (!strcmp(name, slash + 1)) replace((uint8_t *)map->l_addr + address);
    fclose(file);
  }
  return 0;
}

static void answer(int signal_number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  uint32_t a, b, c, d, leaf = registers[REG_RAX], part = registers[REG_RCX];
  if (memcmp((void *)registers[REG_RIP], UD2, 2)) abort();
  __cpuid_count(leaf, part, a, b, c, d);
  if (leaf == 7 && part == 0) { /* all of AVX-512, and AMX */
    b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
    c &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
    d &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25));
  } else if (leaf == 7 && part == 1) { /* AVX-VNNI, its 8-bit brothers, bfloat16, AMX of float16, AVX-IFMA */
    a &= ~(BIT(4) | BIT(5) | BIT(21) | BIT(23));
    d &= ~(BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19));
  }
  registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

typedef int set_action(int, const struct sigaction *, struct sigaction *);

int sigaction(int number, const struct sigaction *wanted, struct sigaction *before) {
  return ((set_action *)dlsym(RTLD_NEXT, "sigaction"))(number, number == SIGILL ? NULL : wanted, before);
}

__attribute__((constructor)) static void begin(void) {
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  ((set_action *)dlsym(RTLD_NEXT, "sigaction"))(SIGILL, &action, NULL);
}
