// Includes SPO_KERNELS, a file's name, once for each instruction set that this architecture may have. SPO_ISA is the namespace, SPO_LANES
// the widest vector in float32 numbers, SPO_ENTRY the attribute of a function that is called from outside, SPO_TARGET that of all others.

#define SPO_ISA portable
#define SPO_LANES 4
#define SPO_ENTRY
#define SPO_TARGET inline __attribute__((always_inline))
#include SPO_KERNELS
#undef SPO_TARGET
#undef SPO_ENTRY
#undef SPO_LANES
#undef SPO_ISA

#ifdef __x86_64__
#define SPO_ISA avx2
#define SPO_LANES 8
#define SPO_ENTRY __attribute__((target("avx2,fma")))
#define SPO_TARGET inline __attribute__((always_inline, target("avx2,fma")))
#include SPO_KERNELS
#undef SPO_TARGET
#undef SPO_ENTRY
#undef SPO_LANES
#undef SPO_ISA

#define SPO_ISA avx512
#define SPO_LANES 16
#define SPO_ENTRY __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#define SPO_TARGET inline __attribute__((always_inline, target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#include SPO_KERNELS
#undef SPO_TARGET
#undef SPO_ENTRY
#undef SPO_LANES
#undef SPO_ISA
#endif

#undef SPO_KERNELS
