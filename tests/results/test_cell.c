/* The key of a cell: stable, and different whenever the experiment is. */
#include <stddef.h>

#include "tests/results/fixture.h"

Test(cell, the_key_is_pinned)
{
    struct cell_row row = a_cell("vanilla");
    char key[65];

    cell_key(&row, key);
    /* Made apart by tests/results/cell_key.py; it changes only with the text "desbench cell 2". */
    cr_expect_str_eq(key, "dd23e42124c52b3421ddfc5229a847b4e8e09c943f7b490dc26e0bbad01188d0");
}

Test(cell, every_deciding_column_changes_the_key)
{
    static const size_t texts[] = {
        offsetof(struct cell_row, task),
        offsetof(struct cell_row, dataset_sha256),
        offsetof(struct cell_row, prompt_form),
        offsetof(struct cell_row, prompt_sha256),
        offsetof(struct cell_row, load_format),
        offsetof(struct cell_row, weights_sha256),
        offsetof(struct cell_row, config_sha256),
        offsetof(struct cell_row, tokenizer_sha256),
        offsetof(struct cell_row, template_sha256),
        offsetof(struct cell_row, selector),
        offsetof(struct cell_row, decoder),
        offsetof(struct cell_row, cache),
        offsetof(struct cell_row, backend),
        offsetof(struct cell_row, numeric_mode),
        offsetof(struct cell_row, answers_sha256),
    };
    enum { N_TEXTS = sizeof(texts) / sizeof(texts[0]), N = N_TEXTS + 4 };
    struct cell_row row = a_cell("vanilla");
    char keys[N + 1][65];

    cell_key(&row, keys[N]);
    for (int i = 0; i < N; i++) {
        struct cell_row other = a_cell("vanilla");

        if (i < N_TEXTS)
            *(const char **)((char *)&other + texts[i]) = "changed";
        else if (i == N_TEXTS)
            other.gen_length++;
        else if (i == N_TEXTS + 1)
            other.block_length++;
        else if (i == N_TEXTS + 2)
            other.engine_results_version++;
        else
            other.temperature = 0x1p-1074; /* the least change there is */
        cell_key(&other, keys[i]);
    }
    for (int i = 0; i <= N; i++)
        for (int j = 0; j < i; j++)
            cr_expect_str_neq(keys[i], keys[j], "%d and %d", i, j);
}

Test(cell, names_and_what_follows_from_the_rest_do_not_change_the_key)
{
    struct cell_row row = a_cell("vanilla");
    char key[65], other[65];

    cell_key(&row, key);
    row.model = row.architecture = row.budget = "x";
    row.n_layer = row.n_moe_layer = row.n_exp = row.top_k = row.expert_bytes = 99;
    row.weight_bytes = 99;
    row.temperature = -0.0;
    cell_key(&row, other);
    cr_expect_str_eq(key, other);
}

Test(cell, answers_made_elsewhere_are_told_apart_by_the_name_of_their_model)
{
    struct cell_row row = a_cell("");
    char key[65], other[65];

    row.answers_sha256 = HEX64("a");
    row.temperature = NAN;
    cell_key(&row, key);
    row.temperature = -NAN;
    cell_key(&row, other);
    cr_expect_str_eq(key, other);
    row.model = "x";
    cell_key(&row, other);
    cr_expect_str_neq(key, other);
}

Test(cell, text_does_not_slide_from_one_column_into_the_next)
{
    struct cell_row a = a_cell("vanilla"), b = a;
    char key_a[65], key_b[65];

    a.decoder = "ab";
    a.cache = "c";
    b.decoder = "a";
    b.cache = "bc";
    cell_key(&a, key_a);
    cell_key(&b, key_b);
    cr_expect_str_neq(key_a, key_b);
}
