/* Baseline files: what is read can be compared with itself, and is then identical. */
#include <string.h>

#include "results/compare.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const struct compare_options o = { .margin = 0.02 };
    const char *path = memfile(data, len);
    struct arena arena = { 0 };
    struct answer_set set;
    struct comparison c;
    struct error err = { 0 };
    enum status st = baseline_read(path, &arena, &set, &err);

    (void)baseline_is_file(path);
    if (st) {
        REQUIRE_REFUSED(st, err);
        REQUIRE(strstr(err.text, path));
        arena_release(&arena);
        return 0;
    }
    REQUIRE(set.n_cells >= 1 && set.run_id && set.label);
    for (size_t i = 0; i < set.n_rows; i++) {
        REQUIRE(set.rows[i].cell < set.n_cells && strlen(set.rows[i].tokens_sha256) == 64);
        REQUIRE(set.rows[i].sample_idx >= 0);
    }
    st = compare_sets(&set, &set, &o, &arena, &c, &err);
    if (st) { /* no items, or answers without a verdict */
        REQUIRE(st == ST_MISMATCH || st == ST_INTERNAL);
    } else {
        REQUIRE(c.outcome == STATS_IDENTICAL && c.all.n == (int64_t)set.n_rows);
        REQUIRE(c.all.b == 0 && c.all.c == 0 && !c.mismatches.len);
        compare_release(&c);
    }
    arena_release(&arena);
    return 0;
}
