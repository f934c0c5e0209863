/* Times of kernels and energy, stored and read back. */
#include <math.h>

#include "tests/results/fixture.h"

static struct scratch scratch;
static struct store *store;
static struct arena arena;
static char key[65];
static struct error err;

static void setup(void)
{
    scratch_open(&scratch);
    store = store_with_run(scratch.path, "run-1", key);
}

static void teardown(void)
{
    arena_release(&arena);
    store_close(store);
    scratch_close(&scratch);
}

TestSuite(store_kernels, .init = setup, .fini = teardown);

static struct kernel_row row_of(const char *name, int layer, int max_tok, int64_t n_unique)
{
    return (struct kernel_row){ .run_id = "run-1",
                                .cell_key = key,
                                .name = name,
                                .layer = layer,
                                .max_tok = max_tok,
                                .sum_tok = max_tok,
                                .sum_unique = n_unique };
}

static void put(struct kernel_row row, int64_t ns)
{
    histogram_add(&row.ns, ns);
    cr_assert_eq(store_put_kernels(store, &row, 1, &err), ST_OK, "%s", err.text);
}

Test(store_kernels, times_of_one_key_add_up_whenever_they_come)
{
    struct kernel_row *rows = NULL;
    size_t n = 0;

    put(row_of("moe", 0, 32, 20), 1000);
    put(row_of("moe", 0, 32, 10), 3000);
    put(row_of("moe", 1, 32, 5), 7);
    put(row_of("moe", 0, 64, 6), 8);
    put(row_of("attention", 0, 32, -1), 9);
    cr_assert_eq(store_list_kernels(store, "run-1", &arena, &rows, &n, &err), ST_OK, "%s",
                 err.text);
    cr_assert_eq(n, 4);
    cr_expect_str_eq(rows[0].name, "attention");
    cr_expect_eq(rows[0].sum_unique, -1);
    cr_expect_eq(rows[1].ns.n, 2);
    cr_expect_eq(rows[1].ns.sum, 4000);
    cr_expect_eq(rows[1].ns.min, 1000);
    cr_expect_eq(rows[1].ns.max, 3000);
    cr_expect_eq(rows[1].sum_tok, 64);
    cr_expect_eq(rows[1].sum_unique, 30);
    cr_expect_eq(rows[2].layer, 1);
    cr_expect_eq(rows[3].max_tok, 64);
}

Test(store_kernels, all_rows_of_a_call_or_none)
{
    struct kernel_row rows[2] = { row_of("moe", 0, 32, 1), row_of("qkv", 0, 32, -1) }, *list;
    size_t n = 99;

    histogram_add(&rows[0].ns, 5);
    histogram_add(&rows[1].ns, 5);
    rows[1].cell_key = "there is no such cell";
    cr_assert_neq(store_put_kernels(store, rows, 2, &err), ST_OK);
    cr_assert_eq(store_list_kernels(store, "run-1", &arena, &list, &n, &err), ST_OK);
    cr_assert_eq(n, 0);
}

static void put_window(int64_t t_ns, int64_t mj, int64_t n_committed, int64_t bits)
{
    const struct power_row row = { .run_id = "run-1",
                                   .cell_key = key,
                                   .device = "GPU-1",
                                   .t_ns = t_ns,
                                   .wall_ns = 2000000000,
                                   .n_committed = n_committed,
                                   .energy_mj = mj,
                                   .sm_clock_mhz = 1000 + t_ns,
                                   .mem_clock_mhz = -1,
                                   .temp_c = 50,
                                   .throttle_bits = bits };

    cr_assert_eq(store_put_power(store, &row, &err), ST_OK, "%s", err.text);
}

static struct energy_row energy(void)
{
    struct energy_row *rows;
    size_t n;

    cr_assert_eq(store_list_energy(store, "run-1", &arena, &rows, &n, &err), ST_OK, "%s", err.text);
    cr_assert_eq(n, 1);
    return rows[0];
}

Test(store_kernels, energy_is_that_of_windows_which_have_it)
{
    struct sample_row s = a_sample("run-1", key, "a", 0);
    struct energy_row x;

    put_window(1, 400000, 100, 4);
    put_window(2, 600000, 100, 0x20);
    put_window(3, -1, 77, 0);
    x = energy();
    cr_expect_eq(x.n_windows, 3);
    cr_expect_eq(x.joules, 1000);
    cr_expect_eq(x.watts, 250);
    cr_expect_eq(x.joules_per_committed, 5);
    cr_expect(isnan(x.joules_per_right), "there are no answers yet");
    cr_expect_eq(x.sm_clock_mhz, 1002);
    cr_expect_eq(x.temp_c, 50);
    cr_expect_eq(x.throttle_bits, 0x24);
    s.verdict.is_passed = true;
    cr_assert_eq(store_put_sample(store, &s, &err), ST_OK, "%s", err.text);
    s = a_sample("run-1", key, "b", 0);
    s.verdict.is_passed = false;
    cr_assert_eq(store_put_sample(store, &s, &err), ST_OK, "%s", err.text);
    x = energy();
    cr_expect_eq(x.joules_per_right, 5.0 * 2 * (3 + 1)); /* committed: 3 and 1 in its forwards */
}

Test(store_kernels, no_counter_is_not_zero)
{
    struct energy_row x;

    put_window(1, -1, 100, -1);
    x = energy();
    cr_expect(isnan(x.joules) && isnan(x.watts) && isnan(x.joules_per_committed));
    cr_expect_eq(x.throttle_bits, -1);
}
