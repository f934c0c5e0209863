/*
 * Products of a warpgroup (wgmma, PTX ISA 8.0, sm_90a): D (64 x N) += A (64 x 16) B (16 x N), A in
 * registers, B in shared memory. They run asynchronously.
 *
 * A: warp w of the group holds rows 16 w .. 16 w + 15 as the fragment of mma.m16n8k16. D likewise:
 * c[4 n + i] is what mma.m16n8k16 would leave in c[i] for columns 8 n .. 8 n + 7.
 *
 * B: N rows (columns of the product) of 128 bytes, 64 of K, in shared memory aligned to 1024 bytes;
 * piece p (16 bytes) of row r lies at piece p ^ r % 8. A step of 16 of K is two pieces.
 */
#ifndef KERNELS_CUDA_WGMMA_CUH
#define KERNELS_CUDA_WGMMA_CUH

#include "kernels/cuda/sm90.cuh"

#define WGMMA_ROW_BYTES 128

/* Where piece p of row r lies. */
static __device__ __forceinline__ int wgmma_piece(int r, int p)
{
    return r * WGMMA_ROW_BYTES + (p ^ r % 8) * 16;
}

/* B at addr: swizzled by 128 bytes, 8 rows are 1024 bytes apart. */
static __device__ __forceinline__ uint64_t wgmma_operand(uint32_t addr)
{
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 16 | addr >> 4;
}

/* What is 16 of K further. */
#define WGMMA_STEP (32 >> 4)

/* Before the first wgmma() after sums or A were written by other instructions. */
static __device__ __forceinline__ void wgmma_begin(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void wgmma_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Until no more than so many commits are under way. */
template <int AT_MOST> static __device__ __forceinline__ void wgmma_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(AT_MOST) : "memory");
}

/* What was written to shared memory, here or before a barrier, is seen by wgmma. */
static __device__ __forceinline__ void wgmma_shared_fence(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* 8 and 4 sums: their operand numbers. */
#define WGMMA_D8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define WGMMA_D4_AT_8 ", %8, %9, %10, %11"
#define WGMMA_D8_AT_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
/* 16 sums: their operand numbers, and themselves. */
#define WGMMA_D0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define WGMMA_D1 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WGMMA_D2 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define WGMMA_D3 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_D4 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define WGMMA_D5 ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define WGMMA_D6                                                                                   \
    ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define WGMMA_D7                                                                                   \
    ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, " \
    "%127"
#define WGMMA_4(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define WGMMA_16(i) WGMMA_4(i), WGMMA_4(i + 4), WGMMA_4(i + 8), WGMMA_4(i + 12)

/* a0 .. a3, b, is_more: the numbers of the operands after the sums. */
#define WGMMA(n, d, a0, a1, a2, a3, b, is_more, ...)                                               \
    asm volatile("{\n"                                                                             \
                 ".reg .pred p;\n"                                                                 \
                 "setp.ne.b32 p, %" #is_more ", 0;\n"                                              \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" d "}, {%" #a0        \
                 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b ", p, 1, 1, 0;\n"                         \
                 "}\n"                                                                             \
                 : __VA_ARGS__                                                                     \
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "l"(b_operand), "r"(more))

/* c = A B, or c += A B if more; the first N / 2 of c. N a multiple of 32, 24 or 48. */
template <int N, int C>
static __device__ __forceinline__ void wgmma(float (&c)[C], const uint4 &a, uint64_t b_operand,
                                             int more)
{
    static_assert((N % 32 == 0 && N >= 32 && N <= 256) || N == 24 || N == 48, "columns");
    static_assert(N <= 2 * C, "columns of a product");
    if constexpr (N == 24)
        WGMMA(24, WGMMA_D8 WGMMA_D4_AT_8, 12, 13, 14, 15, 16, 17, WGMMA_4(0), WGMMA_4(4),
              WGMMA_4(8));
    else if constexpr (N == 48)
        WGMMA(48, WGMMA_D0 WGMMA_D8_AT_16, 24, 25, 26, 27, 28, 29, WGMMA_16(0), WGMMA_4(16),
              WGMMA_4(20));
    else if constexpr (N == 32)
        WGMMA(32, WGMMA_D0, 16, 17, 18, 19, 20, 21, WGMMA_16(0));
    else if constexpr (N == 64)
        WGMMA(64, WGMMA_D0 WGMMA_D1, 32, 33, 34, 35, 36, 37, WGMMA_16(0), WGMMA_16(16));
    else if constexpr (N == 96)
        WGMMA(96, WGMMA_D0 WGMMA_D1 WGMMA_D2, 48, 49, 50, 51, 52, 53, WGMMA_16(0), WGMMA_16(16),
              WGMMA_16(32));
    else if constexpr (N == 128)
        WGMMA(128, WGMMA_D0 WGMMA_D1 WGMMA_D2 WGMMA_D3, 64, 65, 66, 67, 68, 69, WGMMA_16(0),
              WGMMA_16(16), WGMMA_16(32), WGMMA_16(48));
    else if constexpr (N == 160)
        WGMMA(160, WGMMA_D0 WGMMA_D1 WGMMA_D2 WGMMA_D3 WGMMA_D4, 80, 81, 82, 83, 84, 85,
              WGMMA_16(0), WGMMA_16(16), WGMMA_16(32), WGMMA_16(48), WGMMA_16(64));
    else if constexpr (N == 192)
        WGMMA(192, WGMMA_D0 WGMMA_D1 WGMMA_D2 WGMMA_D3 WGMMA_D4 WGMMA_D5, 96, 97, 98, 99, 100, 101,
              WGMMA_16(0), WGMMA_16(16), WGMMA_16(32), WGMMA_16(48), WGMMA_16(64), WGMMA_16(80));
    else if constexpr (N == 224)
        WGMMA(224, WGMMA_D0 WGMMA_D1 WGMMA_D2 WGMMA_D3 WGMMA_D4 WGMMA_D5 WGMMA_D6, 112, 113, 114,
              115, 116, 117, WGMMA_16(0), WGMMA_16(16), WGMMA_16(32), WGMMA_16(48), WGMMA_16(64),
              WGMMA_16(80), WGMMA_16(96));
    else
        WGMMA(256, WGMMA_D0 WGMMA_D1 WGMMA_D2 WGMMA_D3 WGMMA_D4 WGMMA_D5 WGMMA_D6 WGMMA_D7, 128,
              129, 130, 131, 132, 133, WGMMA_16(0), WGMMA_16(16), WGMMA_16(32), WGMMA_16(48),
              WGMMA_16(64), WGMMA_16(80), WGMMA_16(96), WGMMA_16(112));
}

/* The same of 32 columns, A in shared memory like B: 64 rows. */
static __device__ __forceinline__ void wgmma_shared(float (&c)[16], uint64_t a_operand,
                                                    uint64_t b_operand, int more)
{
    asm volatile("{\n"
                 ".reg .pred p;\n"
                 "setp.ne.b32 p, %18, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" WGMMA_D0
                 "}, %16, %17, p, 1, 1, 0, 0;\n"
                 "}\n"
                 : WGMMA_16(0)
                 : "l"(a_operand), "l"(b_operand), "r"(more));
}

#endif
