/*
 * A GPU that fails in the middle: an op is handed an id that its header does not allow, so that its
 * kernel reads where there is nothing. The next sync says so, every op after it does, and the
 * backend still closes. Exits 77 where backend cuda does not open.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

enum { ROWS = 4, COLS = 64 };

static int fail(const char *what, enum status st, const struct error *err)
{
    fprintf(stderr, "lost_gpu: %s: status %d, '%s'\n", what, (int)st, err->text);
    return 1;
}

int main(void)
{
    const struct kernel_params params = { 0 };
    const struct kernel_ops *ops = kernel_backend_find("cuda");
    const int32_t good[] = { 0, 3 }, bad[] = { 0, 1 << 30 };
    float table[ROWS * COLS] = { 0 }, back[COLS];
    struct error err = { 0 };
    struct kernels *k = NULL;
    struct weight *w = NULL;
    void *x = NULL;
    enum status st;

    if (!ops || ops->open(&params, &k, &err)) {
        fprintf(stderr, "skipped: %s\n", ops ? err.text : "the backend is not part of this build");
        return 77;
    }
    st = ops->weight_load(k, &(struct host_matrix){ table, DT_F32, ROWS, COLS }, &w, &err);
    if (!st)
        st = ops->alloc(k, 2 * COLS * sizeof(float), &x, &err);
    if (!st)
        st = ops->embed(k, w, good, 2, x, &err);
    if (!st)
        st = ops->sync(k, &err);
    if (st)
        return fail("before the fault", st, &err);
    st = ops->embed(k, w, bad, 2, x, &err);
    if (!st)
        st = ops->sync(k, &err);
    if (st != ST_DEVICE || !strstr(err.text, "failed or is lost"))
        return fail("at the fault", st, &err);
    printf("%s\n", err.text);
    for (int i = 0; i < 3; i++) {
        err = (struct error){ 0 };
        st = i == 0   ? ops->download(k, back, x, sizeof(back), &err)
             : i == 1 ? ops->sync(k, &err)
                      : ops->alloc(k, 1 << 20, &x, &err);
        if (st != ST_DEVICE || !*err.text)
            return fail("after the fault", st, &err);
    }
    ops->close(k);
    return 0;
}
