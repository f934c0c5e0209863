/* `desbench report`: stored runs as a page, figures and tables. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "harness/paths.h"
#include "harness/raster.h"
#include "harness/sides.h"
#include "harness/verb.h"
#include "results/report.h"
#include "tasks/task.h"

static const char *level_name(const char *task)
{
    const struct task_def *def = task_find(task);

    return def ? def->level_name : NULL;
}

enum { MAX_CLAIMS_BYTES = 1 << 20, MAX_BENCH_BYTES = 16 << 20 };

/* Print what the run says of the bundled claims, and keep it for the page. */
static enum status answer_claims(struct report *r, struct store *s, struct arena *arena,
                                 struct error *err)
{
    struct buf file = { 0 }, text = { 0 };
    const char *share, *path = NULL;
    enum status st = path_share(arena, &share, err);

    if (!st)
        path = arena_printf(arena, "%s/plans/claims.yaml", share);
    if (!st && !path)
        st = error_set(err, ST_NOMEM, "out of memory answering claims");
    if (!st)
        st = file_read(path, MAX_CLAIMS_BYTES, &file, err);
    if (!st)
        st = report_answer_claims(r, s, buf_str(&file), file.len, path, &text, err);
    if (!st)
        st = verb_print(&text, err);
    buf_release(&text);
    buf_release(&file);
    return st;
}

/* spec NULL: --results. */
static enum status add_run(const struct options *c, const char *spec, struct arena *arena,
                           struct report *r, struct error *err)
{
    struct side side = { 0 };
    enum status st = side_open_newest(c, spec, arena, &side, err);

    if (!st)
        st = report_add(r, side.store, side.sets, side.n_sets, err);
    if (!st && options_flag(c, OPT_CLAIMS))
        st = answer_claims(r, side.store, arena, err);
    side_close(&side);
    return st;
}

static enum status add_bench(struct report *r, const char *path, struct error *err)
{
    struct buf file = { 0 };
    enum status st = file_read(path, MAX_BENCH_BYTES, &file, err);

    if (!st)
        st = report_add_bench(r, buf_str(&file), file.len, path, err);
    buf_release(&file);
    return st;
}

/* A figure's PNG beside its SVG. */
static enum status add_png(const char *tool, const char *svg, struct arena *arena,
                           struct error *err)
{
    const char *png = arena_printf(arena, "%.*s.png", (int)(strlen(svg) - 4), svg);

    return png ? raster_convert(tool, svg, png, err)
               : error_set(err, ST_NOMEM, "out of memory writing a report");
}

/* Each whole or not at all; the page, which points at the others, comes last. */
static enum status write_files(const char *dir, const char *tool, const struct report_file *files,
                               size_t n, struct error *err)
{
    struct arena arena = { 0 };
    enum status st = file_make_dirs(dir, err);

    for (size_t i = 0; i < n && !st; i++) {
        const char *path = arena_printf(&arena, "%s/%s", dir, files[i].name);

        st = path ? file_write_atomic(path, buf_str(&files[i].text), files[i].text.len, err)
                  : error_set(err, ST_NOMEM, "out of memory writing a report");
        if (!st && tool && strstr(files[i].name, ".svg"))
            st = add_png(tool, path, &arena, err);
    }
    if (!st && !tool)
        log_info("no PNG of figures: rsvg-convert is not there (Debian: librsvg2-bin)");
    if (!st)
        log_info("%zu files in '%s'; open '%s/report.html'", n, dir, dir);
    arena_release(&arena);
    return st;
}

static enum status run_report(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct report_options o = { .version = build_version,
                                .level_name = level_name,
                                .n_draws = options_int(c, OPT_DRAWS),
                                .seed = (uint64_t)options_int(c, OPT_DRAWS_SEED) };
    const struct option_value *benches = &c->values[OPT_BENCH];
    const struct report_file *files = NULL;
    struct report *r = NULL;
    struct arena arena = { 0 };
    const char *tool = NULL;
    size_t n = 0;
    enum status st = raster_find(&arena, &tool, err);

    (void)ret_exit;
    o.has_png = tool != NULL;
    if (!st)
        st = report_new(&o, &r, err);
    if (!st && c->n_args > 1 && options_flag(c, OPT_CLAIMS))
        st = error_set(err, ST_INVALID, "--claims takes one run or results file, not %zu",
                       c->n_args);
    for (size_t i = 0; i < benches->n && !st; i++)
        st = add_bench(r, benches->texts[i], err);
    if (!st && !c->n_args)
        st = add_run(c, NULL, &arena, r, err);
    for (size_t i = 0; i < c->n_args && !st; i++)
        st = add_run(c, c->args[i], &arena, r, err);
    if (!st)
        st = report_make(r, &files, &n, err);
    if (!st)
        st = write_files(options_text(c, OPT_REPORT_OUTPUT), tool, files, n, err);
    report_free(r);
    arena_release(&arena);
    return st;
}

const struct verb verb_report = {
    .name = "report",
    .bit = VERB_REPORT,
    .args = "[RUN...]",
    .max_args = -1,
    .summary = "stored results as one page of HTML, with its figures as SVG, PNG and CSV",
    .help =
        "Writes report.html into a folder: what ran and whether it is valid, a table of all cells, "
        "and figures\n"
        "of accuracy against unique experts, bytes and latency (both error bars, probability of "
        "being on the\n"
        "frontier), accuracy by task and difficulty with paired tests, latency, block sizes, "
        "batches, forwards,\n"
        "commits, bytes, seconds, experts by layer. It is one file that needs no network; each "
        "figure is beside\n"
        "it as SVG, CSV and, with rsvg-convert, PNG. What was not measured is left out. The same "
        "results give\nthe same bytes. --bench adds rooflines.\n\n"
        "A run is [RESULTS:]RUN[@SETTING] as for `compare`. RESULTS alone means all cells of the "
        "file, each of\n"
        "the newest run that is done and valid; default: those of --results. Several are put side "
        "by side; those\n"
        "with the same items and model share a frontier. --claims prints what the results say of "
        "the claims in\n"
        "plans/claims.yaml: supported, refuted, not testable here, or ill-posed, and why.\n\n"
        "  desbench report\n"
        "  desbench report runs/results.sqlite -o report --claims\n"
        "  desbench report runs:20261122-065119 other/results.sqlite:last -o report\n",
    .run = run_report,
};
