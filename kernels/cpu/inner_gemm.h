/*
 * Products with packed weights in f32: lanes are rows of the weight, so nothing is added across
 * lanes and a (token, row) has one sum, over the columns in ascending order.
 *
 * A tile is two vectors of rows by up to GEMM_TOKENS tokens. A line of the panel, a pair of
 * columns, comes as one 32-bit word a row: shifting it left makes a float of the first column,
 * masking it one of the second. Activations are floats, a token's 32 of a step together, the
 * tokens of a group one after the other.
 *
 * Part of inner_body.h.
 */
_Static_assert(PANEL_ROWS % (2 * VL) == 0, "panels are cut into pairs of vectors");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first column is the lower half");

TARGET static void in_prepare(const float *x, size_t n_cols, size_t step, size_t n_steps, int i,
                              int n, void *group)
{
    float *ret = (float *)group + (step * (size_t)n + (size_t)i) * PACK_COLS;

    (void)n_steps;
    for (; n_cols > PACK_COLS; n_cols -= PACK_COLS, x += PACK_COLS, ret += n * PACK_COLS)
        memcpy(ret, x, PACK_COLS * sizeof(*ret));
    memcpy(ret, x, n_cols * sizeof(*ret));
    memset(ret + n_cols, 0, (PACK_COLS - n_cols) * sizeof(*ret));
}

/* Two vectors of rows at w and w + apart, by tokens of the n at x. */
INLINE void gemm_tile(const char *w, size_t apart, size_t n_steps, const float *x, int n,
                      int tokens, float *ret, struct ahead ahead)
{
    vf acc[2][GEMM_TOKENS];

    UNROLL
    for (int t = 0; t < tokens; t++)
        acc[0][t] = acc[1][t] = (vf){ 0 };
    for (size_t s = 0; s < n_steps; s++, w += STEP_BYTES, x += n * PACK_COLS) {
        if (ahead.panel)
            fetch_ahead(ahead, n_steps, s);
        for (int p = 0; p < PACK_COLS / 2; p++) {
            vu raw[2];

            memcpy(&raw[0], w + p * 64, sizeof(raw[0]));
            memcpy(&raw[1], w + p * 64 + apart, sizeof(raw[1]));
            UNROLL
            for (int odd = 0; odd < 2; odd++) {
                vf w0 = (vf)(odd ? raw[0] & 0xffff0000u : raw[0] << 16);
                vf w1 = (vf)(odd ? raw[1] & 0xffff0000u : raw[1] << 16);

                UNROLL
                for (int t = 0; t < tokens; t++) {
                    vf v = v_set(x[t * PACK_COLS + 2 * p + odd]);

                    acc[0][t] = v_fma(w0, v, acc[0][t]);
                    acc[1][t] = v_fma(w1, v, acc[1][t]);
                }
            }
        }
    }
    UNROLL
    for (int t = 0; t < tokens; t++) {
        v_store(ret + t * PANEL_ROWS, acc[0][t]);
        v_store(ret + t * PANEL_ROWS + VL, acc[1][t]);
    }
}

/* All rows of the panel by tokens, known at compile time. */
INLINE void gemm_rows(const char *panel, size_t n_steps, const float *x, int n, int tokens,
                      float *ret, struct ahead ahead)
{
    for (int r = 0; r < PANEL_ROWS; r += 2 * VL) {
        const char *w = panel + r / TILE_SIDE * (STEP_BYTES / 2) + r % TILE_SIDE * 4;

        gemm_tile(w, VL == TILE_SIDE ? STEP_BYTES / 2 : VL * 4, n_steps, x, n, tokens, ret + r,
                  ahead);
        ahead.panel = NULL; /* fetched */
    }
}

#define GEMM_CASE(tokens)                                                                          \
    case tokens: gemm_rows(panel, n_steps, x, n, tokens, ret, ahead); break

TARGET static void in_gemm(const void *panel, size_t n_steps, const void *group, int n, float *ret,
                           struct ahead ahead)
{
    int n_tiles = (n + GEMM_TOKENS - 1) / GEMM_TOKENS;

    for (int i = 0, t = 0; i < n_tiles; i++) { /* nearly equal */
        int tokens = (n - t) / (n_tiles - i);
        const float *x = (const float *)group + t * PACK_COLS;

        switch (tokens) {
            GEMM_CASE(1);
            GEMM_CASE(2);
            GEMM_CASE(3);
            GEMM_CASE(4);
#if GEMM_TOKENS > 4
            GEMM_CASE(5);
            GEMM_CASE(6);
#endif
#if GEMM_TOKENS > 6
            GEMM_CASE(7);
            GEMM_CASE(8);
            GEMM_CASE(9);
            GEMM_CASE(10);
            GEMM_CASE(11);
            GEMM_CASE(12);
#endif
        default: break;
        }
        t += tokens;
        ret += tokens * PANEL_ROWS;
        ahead.panel = NULL;
    }
}
