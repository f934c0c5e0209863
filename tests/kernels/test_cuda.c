/* The cuda backend's own promises: what it says without a GPU, its memory, arguments and results.
 * What its ops compute is for checkkern. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda.h"

/* Skips the test, with the reason, where there is no GPU. */
static struct cuda *open_or_skip(void)
{
    struct kernels *k = NULL;
    struct error err = { 0 };
    enum status st = cuda_ops.open(&(struct kernel_params){ 0 }, &k, &err);

    if (st == ST_NOT_FOUND)
        cr_skip_test("%s", err.text);
    cr_assert_eq(st, ST_OK, "%s", err.text);
    return (struct cuda *)k;
}

/* A layer as LLaDA-MoE has 16 of. */
static const struct kernel_sizes llada = { .n_layer = 16,
                                           .d_model = 2048,
                                           .n_head = 16,
                                           .n_kv_head = 16,
                                           .d_head = 128,
                                           .d_ff = 1024,
                                           .n_exp = 64,
                                           .n_vocab = 157184,
                                           .max_slots = 8,
                                           .max_tok = 1024,
                                           .max_seqs = 1,
                                           .max_kv = 1024 };

Test(cuda, is_refused_by_name_of_what_is_not_there)
{
    struct kernels *k = NULL;
    struct error err = { 0 };
    size_t own = 7, available = 7;
    enum status st = cuda_ops.open(&(struct kernel_params){ 0 }, &k, &err);

    cr_assert(st == ST_OK || st == ST_NOT_FOUND, "%s: %s", status_name(st), err.text);
    cr_assert_eq(kernel_backend_find("cuda"), &cuda_ops);
    cr_assert_eq(kernel_backend_best() == &cuda_ops, st == ST_OK);
    cuda_ops.close(k);
    cuda_ops.close(NULL);
    if (st == ST_OK)
        return;
    cr_assert(strstr(err.text, "NVIDIA") || strstr(err.text, "GPU"), "%s", err.text);
    cr_assert_null(k);
    cr_assert_eq(cuda_ops.memory(&(struct kernel_params){ 0 }, &llada, &own, &available, &err),
                 ST_NOT_FOUND);
    cr_assert(own == 7 && available == 7);
}

Test(cuda, plans_more_for_larger_forwards_and_for_padding)
{
    struct kernel_sizes m = llada, n = llada;
    struct error err = { 0 };
    size_t a = 0, b = 0;

    cr_assert_eq(cuda_own_memory(&m, KERNEL_INVARIANT, &a, &err), ST_OK, "%s", err.text);
    cr_expect(a > (size_t)157184 * 2048 * 2 && a < (size_t)3 << 30, "%zu", a);
    n.max_tok = 16 * 1024;
    n.max_seqs = 16;
    cr_assert_eq(cuda_own_memory(&n, KERNEL_INVARIANT, &b, &err), ST_OK, "%s", err.text);
    cr_expect_gt(b, a);
    cr_assert_eq(cuda_own_memory(&n, KERNEL_FAST, &a, &err), ST_OK, "%s", err.text);
    cr_expect_gt(a, b + (size_t)16 * 1024 * 2048 * 2); /* activations in tiles */
    cr_assert_eq(cuda_own_memory(&m, KERNEL_INVARIANT, &a, &err), ST_OK, "%s", err.text);
    n = m;
    n.d_ff = 1000; /* down is padded to 1024 columns, gate and up to 2048 rows */
    cr_assert_eq(cuda_own_memory(&n, KERNEL_INVARIANT, &b, &err), ST_OK, "%s", err.text);
    cr_expect_gt(b, a + (size_t)16 * 64 * 3 * 24 * 2048 * 2 - 1);
    n = m;
    m.max_tok = 2048; /* the experts' results of 4,096 tokens at once */
    n.max_tok = 4096;
    cr_assert_eq(cuda_own_memory(&m, KERNEL_INVARIANT, &a, &err), ST_OK, "%s", err.text);
    cr_assert_eq(cuda_own_memory(&n, KERNEL_INVARIANT, &b, &err), ST_OK, "%s", err.text);
    cr_expect_gt(b, a + (size_t)2048 * 8 * 2048 * 4);
    m = n;
    m.max_slots = n.max_slots = 1;
    n.n_dense_layer = 1; /* nine parts, each of which has a result */
    n.d_ff_dense = 9 * 1024;
    cr_assert_eq(cuda_own_memory(&m, KERNEL_INVARIANT, &a, &err), ST_OK, "%s", err.text);
    cr_assert_eq(cuda_own_memory(&n, KERNEL_INVARIANT, &b, &err), ST_OK, "%s", err.text);
    cr_expect_gt(b, a + (size_t)4096 * 8 * 2048 * 4);
    n.n_layer = n.n_exp = 0x7fffffff; /* no address space holds their padding */
    n.d_ff = 1;
    cr_expect_eq(cuda_own_memory(&n, KERNEL_INVARIANT, &b, &err), ST_NOMEM);
}

Test(cuda, too_much_memory_is_refused_and_the_next_request_served)
{
    struct cuda *c = open_or_skip();
    struct error err = { 0 };
    void *p = NULL;

    cr_assert_eq(cuda_ops.alloc(&c->base, (size_t)1 << 50, &p, &err), ST_NOMEM);
    cr_assert(strstr(err.text, "1125899906842624 bytes"), "%s", err.text);
    cr_assert_null(p);
    cr_assert_eq(cuda_ops.alloc(&c->base, 1000, &p, &err), ST_OK, "%s", err.text);
    cr_assert_eq(cuda_ops.sync(&c->base, &err), ST_OK, "%s", err.text);
    cuda_ops.free(&c->base, p);
    cuda_ops.free(&c->base, NULL);
    cuda_ops.close(&c->base);
}

/* Of every way that an upload takes: through the room, through one chunk, through several. */
Test(cuda, what_goes_up_comes_down)
{
    static const size_t sizes[] = {
        0, 1, 64 << 10, (64 << 10) + 1, CUDA_CHUNK_BYTES, 3 * CUDA_CHUNK_BYTES + 5
    };
    struct cuda *c = open_or_skip();
    struct error err = { 0 };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        unsigned char *up = malloc(sizes[i] + 1), *down = malloc(sizes[i] + 1);
        void *p = NULL;

        cr_assert(up && down);
        for (size_t j = 0; j < sizes[i]; j++)
            up[j] = (unsigned char)(j * 7 + j / 251 + i);
        memset(down, 0xee, sizes[i] + 1);
        cr_assert_eq(cuda_ops.alloc(&c->base, sizes[i], &p, &err), ST_OK, "%s", err.text);
        cr_assert_eq(cuda_ops.upload(&c->base, p, up, sizes[i], &err), ST_OK, "%s", err.text);
        cr_assert_eq(cuda_ops.download(&c->base, down, p, sizes[i], &err), ST_OK, "%s", err.text);
        cr_assert_eq(memcmp(up, down, sizes[i]), 0, "%zu bytes", sizes[i]);
        cr_assert_eq(down[sizes[i]], 0xee);
        cuda_ops.free(&c->base, p);
        free(up);
        free(down);
    }
    cuda_ops.close(&c->base);
}

Test(cuda, results_arrive_with_the_next_sync_however_many_there_are)
{
    enum { N = 5000, SIZE = 400 }; /* more than the room holds at first */
    struct cuda *c = open_or_skip();
    static int32_t src[SIZE / 4], dst[N][SIZE / 4];
    struct error err = { 0 };

    for (int i = 0; i < N; i++) {
        const void *dev = NULL, *host = NULL;

        src[0] = i;
        src[SIZE / 4 - 1] = -i;
        cr_assert_eq(cuda_room(c, 2 * cuda_slot(SIZE), &err), ST_OK, "%s", err.text);
        cr_assert_eq(cuda_put(c, src, SIZE, &dev, &err), ST_OK, "%s", err.text);
        cr_assert_eq(cuda_get(c, dev, SIZE, &host, &err), ST_OK, "%s", err.text);
        cr_assert_eq(cuda_deliver(c, dst[i], host, SIZE, &err), ST_OK, "%s", err.text);
    }
    cr_assert_eq(cuda_ops.sync(&c->base, &err), ST_OK, "%s", err.text);
    for (int i = 0; i < N; i++)
        cr_assert(dst[i][0] == i && dst[i][SIZE / 4 - 1] == -i, "%d: %d", i, (int)dst[i][0]);
    cr_assert_eq(c->room.used, 0);
    cuda_ops.close(&c->base);
}

Test(cuda, the_room_grows_for_an_argument_that_is_larger_than_it)
{
    enum { N = 1 << 20 };
    struct cuda *c = open_or_skip();
    int32_t *ids = calloc(N, sizeof(*ids)), *back = calloc(N, sizeof(*ids));
    struct error err = { 0 };
    const void *dev = NULL;

    cr_assert(ids && back);
    for (int i = 0; i < N; i++)
        ids[i] = i * 3;
    cr_assert_eq(cuda_room(c, cuda_slot(N * sizeof(*ids)), &err), ST_OK, "%s", err.text);
    cr_assert_eq(cuda_put(c, ids, N * sizeof(*ids), &dev, &err), ST_OK, "%s", err.text);
    cr_assert_eq(cuda_ops.download(&c->base, back, dev, N * sizeof(*ids), &err), ST_OK);
    cr_assert_eq(memcmp(ids, back, N * sizeof(*ids)), 0);
    free(ids);
    free(back);
    cuda_ops.close(&c->base);
}

/* A tied table is read by rows and multiplied by; the other order is refused, not guessed at. */
Test(cuda, rows_stay_where_they_are_read)
{
    enum { ROWS = 70, COLS = 40 };
    static uint16_t data[ROWS * COLS];
    const struct host_matrix m = { data, DT_BF16, ROWS, COLS };
    struct cuda *c = open_or_skip();
    struct weight *read = NULL, *packed = NULL;
    struct error err = { 0 };
    const void *p = NULL;

    cr_assert_eq(cuda_ops.weight_load(&c->base, &m, &read, &err), ST_OK, "%s", err.text);
    cr_assert_eq(cuda_ops.weight_load(&c->base, &m, &packed, &err), ST_OK, "%s", err.text);
    cr_assert_eq(cuda_weight_rows(read, &p, &err), ST_OK, "%s", err.text);
    cr_assert_eq(cuda_weight_packed(c, read, &p, &err), ST_OK, "%s", err.text);
    cr_assert_eq(cuda_weight_rows(read, &p, &err), ST_OK, "%s", err.text);
    cr_assert_eq(cuda_weight_packed(c, packed, &p, &err), ST_OK, "%s", err.text);
    cr_assert_eq(cuda_weight_rows(packed, &p, &err), ST_UNSUPPORTED);
    cuda_ops.close(&c->base);
}
