// What the processor can run and what this build was made for.
#include "common.h"
#include "vector.h"

// The best build for this processor: 0 generic, 1 AVX2 (x86-64-v3), 2 AVX-512 (x86-64-v4), 3 that with
// products of bfloat16.
API int wirings_processor_level() {
#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    bool bf16 = v4 && __builtin_cpu_supports("avx512bf16");
    return bf16 ? 3 : v4 ? 2 : v3 ? 1 : 0;
#else
    return 0;
#endif
}

API int wirings_vector_bytes() { return WIRINGS_VECTOR_BYTES; }

API int wirings_has_threads() {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}
