/* The telemetry blob: exact both ways, compact, and safe against any bytes. */
#include "results/store_db.h"
#include "tests/results/fixture.h"

static void encode(const struct telemetry *t, struct buf *blob)
{
    struct error err = { 0 };

    cr_assert_eq(telemetry_encode(t, blob, &err), ST_OK, "%s", err.text);
}

/* CRC-32 bit by bit, from its definition: what the table in telemetry.c must agree with. */
static uint32_t slow_crc32(const unsigned char *p, size_t len)
{
    uint32_t c = 0xffffffff;

    for (size_t i = 0; i < len; i++)
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (((c ^ p[i] >> k) & 1) ? 0xedb88320u : 0);
    return ~c;
}

/* Make a changed body whole again, so that decoding gets past the check sum. */
static void seal(struct buf *blob)
{
    unsigned char *p = (unsigned char *)blob->data;
    uint32_t v[2] = { (uint32_t)blob->len - 12, slow_crc32(p + 12, blob->len - 12) };

    for (int i = 0; i < 8; i++)
        p[4 + i] = (unsigned char)(v[i / 4] >> (8 * (i % 4)));
}

Test(telemetry, what_was_encoded_is_decoded)
{
    static const struct {
        int n_forwards, n_layer, n_exp, n_positions;
    } shapes[] = { { 0, 0, 0, 0 },  { 1, 1, 1, 1 }, { 2, 3, 5, 7 },    { 40, 16, 64, 256 },
                   { 7, 0, 64, 3 }, { 3, 2, 0, 0 }, { 5, 1, 1024, 1 }, { 1, 19, 256, 32 } };

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct arena arena = { 0 };
        struct buf blob = { 0 };
        struct error err = { 0 };
        struct telemetry got;
        struct telemetry t =
            random_telemetry(&arena, i + 1, shapes[i].n_forwards, shapes[i].n_layer,
                             shapes[i].n_exp, shapes[i].n_positions);

        encode(&t, &blob);
        cr_assert_eq(telemetry_decode(blob.data, blob.len, &arena, &got, &err), ST_OK, "%zu: %s", i,
                     err.text);
        cr_expect(is_same_telemetry(&t, &got), "shape %zu", i);
        buf_release(&blob);
        arena_release(&arena);
    }
}

Test(telemetry, extreme_numbers_survive)
{
    struct telemetry_forward f = { INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX,
                                   INT32_MAX, INT32_MAX, true,      INT64_MAX };
    struct telemetry_layer l[3] = {
        { INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX, INFINITY, NAN, INT64_MAX },
        { 0, 0, 0, 0, 0, NAN, INFINITY, INT64_MAX - 1 },
        { 0, 0, 0, 0, 0, -0.0f, -0.0f, 0 },
    };
    uint16_t loads[3 * 3] = { UINT16_MAX, 0, 0, 0, 0, 1, UINT16_MAX, UINT16_MAX, UINT16_MAX };
    int32_t commit[1] = { -1 };
    struct telemetry t = { 1, 3, 3, 1, true, &f, l, loads, commit }, got;
    struct arena arena = { 0 };
    struct buf blob = { 0 };
    struct error err = { 0 };

    encode(&t, &blob);
    cr_assert_eq(telemetry_decode(blob.data, blob.len, &arena, &got, &err), ST_OK, "%s", err.text);
    cr_expect(is_same_telemetry(&t, &got));
    buf_release(&blob);
    arena_release(&arena);
}

Test(telemetry, the_format_is_the_documented_one_byte_by_byte)
{
    /* one forward of one layer of 4 experts, of which 1 and 3 got 1 and 5 tokens */
    struct telemetry_forward f = { 0, 2, 6, 200, 5, 4, true, 300 };
    struct telemetry_layer l = { .n_unique = 2,
                                 .n_rerouted = 1,
                                 .n_natural = 3,
                                 .n_core = 2,
                                 .kept_mass = 1.0f,
                                 .output_error = 2.0f,
                                 .expert_bytes = 3072 };
    uint16_t loads[4] = { 0, 1, 0, 5 };
    int32_t commit[2] = { 0, -1 };
    struct telemetry t = { 1, 1, 4, 2, true, &f, &l, loads, commit };
    static const unsigned char want[] = {
        'D',
        'T',
        3,
        0,
        32,
        0,
        0,
        0, /* the check sum is compared apart */
        0,
        0,
        0,
        0,
        1,
        1,
        4,
        2,
        0x80,
        0x18, /* unit 3072 = 24 << 7 */
        1,    /* has_output_error */
        0,
        2,
        6,
        0xc8,
        0x01,
        11,
        4,
        0xac,
        0x02, /* forward */
        2,
        1,
        0,
        3,
        2,
        0,
        1,
        /* layer; 2.0f XOR 1.0f is 0x7f800000, as a varint: */
        0x80,
        0x80,
        0x80,
        0xfc,
        0x07,
        1,
        0, /* positions */
        /* g(3) 011, g(2) 010, g(1) 1, g(2) 010, g(5) 00101: bits 0110 1010 1000 101(0) */
        0x56,
        0x51,
    };
    struct buf blob = { 0 };

    encode(&t, &blob);
    cr_assert_eq(blob.len, sizeof(want), "%zu", blob.len);
    for (size_t i = 0; i < sizeof(want); i++)
        if (i < 8 || i >= 12)
            cr_expect_eq((unsigned char)blob.data[i], want[i], "byte %zu is %02x", i,
                         (unsigned char)blob.data[i]);
    for (int i = 0; i < 4; i++)
        cr_expect_eq((unsigned char)blob.data[8 + i],
                     slow_crc32((unsigned char *)blob.data + 12, blob.len - 12) >> (8 * i) & 0xff);
    cr_expect_eq(slow_crc32((const unsigned char *)"123456789", 9), 0xcbf43926u);
    buf_release(&blob);
}

Test(telemetry, every_truncation_is_refused)
{
    struct arena arena = { 0 };
    struct buf blob = { 0 };
    struct error err;
    struct telemetry t = random_telemetry(&arena, 3, 4, 3, 32, 20), got = { .n_exp = 77 };

    encode(&t, &blob);
    for (size_t len = 0; len < blob.len; len++) {
        char *copy = malloc(len ? len : 1); /* of exactly this size, for the sanitizer to watch */

        memcpy(copy, blob.data, len);
        cr_assert_eq(telemetry_decode(copy, len, &arena, &got, &err), ST_INVALID, "length %zu",
                     len);
        free(copy);
    }
    cr_expect_eq(got.n_exp, 77, "a failure leaves the result alone");
    buf_putc(&blob, 0);
    cr_expect_eq(telemetry_decode(blob.data, blob.len, &arena, &got, &err), ST_INVALID);
    buf_release(&blob);
    arena_release(&arena);
}

Test(telemetry, every_flipped_bit_is_noticed)
{
    struct arena arena = { 0 };
    struct buf blob = { 0 };
    struct error err;
    struct telemetry t = random_telemetry(&arena, 4, 4, 3, 32, 20), got;

    encode(&t, &blob);
    for (size_t i = 0; i < blob.len * 8; i++) {
        blob.data[i / 8] = (char)(blob.data[i / 8] ^ 1 << i % 8);
        cr_assert_eq(telemetry_decode(blob.data, blob.len, &arena, &got, &err), ST_INVALID,
                     "bit %zu", i);
        blob.data[i / 8] = (char)(blob.data[i / 8] ^ 1 << i % 8);
    }
    cr_expect_eq(telemetry_decode(blob.data, blob.len, &arena, &got, &err), ST_OK);
    buf_release(&blob);
    arena_release(&arena);
}

/* With a right check sum: anything may come out but a crash, and what decodes can be encoded. */
Test(telemetry, a_body_made_wrong_on_purpose_does_no_harm)
{
    struct arena arena = { 0 }, scratch = { 0 };
    struct buf blob = { 0 }, bad = { 0 }, again = { 0 };
    struct error err;
    struct telemetry t = random_telemetry(&arena, 5, 4, 3, 32, 20), got;
    struct rng rng;
    int n_ok = 0, n_bad = 0;

    rng_seed(&rng, 6);
    encode(&t, &blob);
    for (int i = 0; i < 20000; i++) {
        size_t n_changes = 1 + rng_below(&rng, 3), cut = rng_below(&rng, 4) ? 0 : 1;

        buf_clear(&bad);
        buf_append(&bad, blob.data, blob.len - cut * rng_below(&rng, blob.len - 12));
        for (size_t k = 0; k < n_changes && bad.len > 12; k++) {
            size_t at =
                12 + rng_below(&rng, rng_below(&rng, 2) ? bad.len - 12 : 16 % (bad.len - 12) + 1);
            bad.data[at < bad.len ? at : 12] = (char)rng_below(&rng, 256);
        }
        seal(&bad);
        arena_clear(&scratch);
        if (telemetry_decode(bad.data, bad.len, &scratch, &got, &err) != ST_OK) {
            n_bad++;
            continue;
        }
        n_ok++;
        cr_assert_eq(telemetry_encode(&got, &again, &err), ST_OK, "%s", err.text);
    }
    cr_expect(n_ok > 100 && n_bad > 100, "%d decoded, %d did not", n_ok, n_bad);
    buf_release(&blob);
    buf_release(&bad);
    buf_release(&again);
    arena_release(&arena);
    arena_release(&scratch);
}

Test(telemetry, a_small_blob_cannot_ask_for_much_memory)
{
    /* n_forwards = n_layer = 2^20, n_exp = 65535; then n_forwards = 2^31 - 1 of no layers */
    static const unsigned char bodies[2][16] = {
        { 0x80, 0x80, 0x40, 0x80, 0x80, 0x40, 0xff, 0xff, 0x03, 0, 1, 0 },
        { 0xff, 0xff, 0xff, 0xff, 0x07, 0, 0, 0, 1, 0 },
    };
    struct arena arena = { 0 };
    struct telemetry got;
    struct error err;

    for (int i = 0; i < 2; i++) {
        struct buf blob = { 0 };

        buf_append(&blob, "DT\3\0........", 12);
        buf_append(&blob, bodies[i], 16);
        seal(&blob);
        cr_expect_eq(telemetry_decode(blob.data, blob.len, &arena, &got, &err), ST_INVALID);
        cr_expect(strstr(err.text, "sizes"), "%s", err.text);
        buf_release(&blob);
    }
    arena_release(&arena);
}

Test(telemetry, another_version_is_named)
{
    struct arena arena = { 0 };
    struct buf blob = { 0 };
    struct error err;
    struct telemetry t = { 0 }, got;

    encode(&t, &blob);
    blob.data[2] = 9;
    cr_expect_eq(telemetry_decode(blob.data, blob.len, &arena, &got, &err), ST_INVALID);
    cr_expect(strstr(err.text, "version 9"), "%s", err.text);
    buf_release(&blob);
    arena_release(&arena);
}

Test(telemetry, numbers_that_the_format_cannot_hold_are_refused)
{
    struct arena arena = { 0 };
    struct buf blob = { 0 };
    struct error err;

    for (int i = 0; i < 9; i++) {
        struct telemetry t = random_telemetry(&arena, 7, 2, 2, 4, 3);
        struct telemetry_forward *f = (struct telemetry_forward *)t.forwards;
        struct telemetry_layer *l = (struct telemetry_layer *)t.layers;
        int32_t *commit = (int32_t *)t.commit_step;

        switch (i) {
        case 0: f[1].wall_ns = -1; break;
        case 1: f[0].n_committed = -1; break;
        case 2: l[3].n_unique = -1; break;
        case 3: l[0].expert_bytes = INT64_MIN; break;
        case 4: commit[2] = 2; break;
        case 5: commit[0] = -2; break;
        case 6: t.n_exp = 65536; break;
        case 7: t.n_forwards = -1; break;
        case 8: f[1].n_edited = -1; break;
        }
        cr_expect_eq(telemetry_encode(&t, &blob, &err), ST_INVALID, "case %d", i);
    }
    buf_release(&blob);
    arena_release(&arena);
}

Test(telemetry, a_long_generation_packs_into_a_bit_a_load_or_so)
{
    struct arena arena = { 0 };
    struct buf blob = { 0 };
    struct telemetry t = random_telemetry(&arena, 8, 60, 19, 256, 256);

    encode(&t, &blob); /* 291,840 loads, a third of them not zero */
    cr_log_info("%zu bytes", blob.len);
    cr_expect_lt(blob.len, 291840 / 3);
    buf_release(&blob);
    arena_release(&arena);
}

/* ---- as SQL tables ---------------------------------------------------------------------- */

static sqlite3 *db;

static void open_db(void)
{
    cr_assert_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
    cr_assert_eq(store_register_telemetry(db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, "CREATE TABLE t (b BLOB, ids BLOB)", NULL, NULL, NULL),
                 SQLITE_OK);
}

static void close_db(void)
{
    sqlite3_close(db);
}

static void insert(const void *blob, size_t len)
{
    sqlite3_stmt *stmt;

    cr_assert_eq(
        sqlite3_prepare_v2(db, "INSERT INTO t VALUES (?, x'070000000100000002')", -1, &stmt, NULL),
        SQLITE_OK);
    sqlite3_bind_blob(stmt, 1, blob, (int)len, SQLITE_STATIC);
    cr_assert_eq(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
}

/* All rows of a query as text: columns by commas, rows by blanks. */
static const char *rows(const char *sql)
{
    static char out[4096];
    sqlite3_stmt *stmt = NULL;

    out[0] = '\0';
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return sqlite3_errmsg(db);
    while (sqlite3_step(stmt) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(stmt); i++) {
            const char *s = (const char *)sqlite3_column_text(stmt, i);
            snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s%s", s ? s : "NULL",
                     i + 1 < sqlite3_column_count(stmt) ? "," : " ");
        }
    return sqlite3_finalize(stmt) == SQLITE_OK ? out : sqlite3_errmsg(db);
}

TestSuite(telemetry_sql, .init = open_db, .fini = close_db);

Test(telemetry_sql, functions_give_a_row_for_each_forward_layer_expert_and_position)
{
    struct sample_row s = a_sample("r", "c", "t", 0);
    struct buf blob = { 0 };

    encode(&s.telemetry, &blob);
    insert(blob.data, blob.len);
    cr_expect_str_eq(rows("SELECT f.* FROM t, telemetry_forward(t.b) f"),
                     "0,0,0,5,4,3,1,1000,0 1,0,1,2,1,1,0,500,2 ");
    cr_expect_str_eq(rows("SELECT forward, block, step, layer, n_tok, n_unique, n_rerouted,"
                          " n_lost_top1, kept_mass, expert_bytes, hex(bitmap), n_natural,"
                          " n_core, output_error"
                          " FROM t, telemetry_layer(b)"),
                     "0,0,0,0,5,4,1,0,0.75,6144,A9,6,5,0.125 0,0,0,1,5,3,0,2,1.0,4608,92,5,0,0.0 "
                     "1,0,1,0,2,2,0,0,1.0,3072,81,3,0,0.0 1,0,1,1,2,1,0,0,0.5,1536,10,2,0,0.0 ");
    cr_expect_str_eq(rows("SELECT e.* FROM t, telemetry_expert(b) e"),
                     "0,0,0,3 0,0,3,4 0,0,5,2 0,0,7,1 0,1,1,5 0,1,4,4 0,1,7,1 1,0,0,2 1,0,7,2 "
                     "1,1,4,4 ");
    cr_expect_str_eq(rows("SELECT p.* FROM t, telemetry_position(b, ids) p"),
                     "0,0,7 1,1,1 2,0,NULL 3,0,NULL 4,NULL,NULL ");
    cr_expect_str_eq(rows("SELECT count(*) FROM t, telemetry_position(b)"), "5 ");
    cr_expect_str_eq(rows("SELECT layer, sum(n_tok) FROM t, telemetry_expert(b) WHERE expert = 7"
                          " GROUP BY layer ORDER BY layer"),
                     "0,3 1,1 ");
    buf_release(&blob);
}

Test(telemetry_sql, null_gives_no_rows_and_damage_fails_the_query)
{
    insert(NULL, 0);
    cr_expect_str_eq(rows("SELECT count(*) FROM t, telemetry_layer(b)"), "0 ");
    insert("DT\1", 3);
    cr_expect(strstr(rows("SELECT * FROM t, telemetry_layer(b)"), "not a telemetry blob"));
    cr_expect(strstr(rows("SELECT * FROM telemetry_layer"), "needs a blob"));
    cr_expect(strstr(rows("SELECT * FROM telemetry_layer('text')"), "not a telemetry blob"));
}
