/* Inner loops for AVX-512. */
#if defined(__x86_64__)

#define INNER_TABLE inner_avx512
#define INNER_NAME "avx512"
#define TARGET __attribute__((target(TARGET512)))

#include "kernels/cpu/inner_vec512.h"

#include "kernels/cpu/inner_body.h"

#else
typedef int no_avx512; /* a file may not be empty */
#endif
