/* desbench: finds the verb, reads its options, runs it, turns a failure into a message and an
 * exit code. The only file that does the last two. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "harness/paths.h"
#include "harness/plan_file.h"
#include "harness/verb.h"

static const struct verb *const verbs[] = {
    &verb_run,      &verb_sweep,   &verb_resume,   &verb_score,   &verb_export,  &verb_import,
    &verb_show,     &verb_ls,      &verb_validate, &verb_grade,   &verb_extract, &verb_data,
    &verb_doctor,   &verb_sandbox, &verb_bench,    &verb_routing, &verb_compare, &verb_gate,
    &verb_baseline, &verb_trace,   &verb_fidelity, &verb_report,
};
enum { N_VERBS = sizeof(verbs) / sizeof(verbs[0]) };

static enum exit_code exit_code_of(enum status st)
{
    switch (st) {
    case ST_OK: return EXIT_DONE;
    case ST_INVALID: return EXIT_USAGE;
    case ST_UNSUPPORTED: return EXIT_USAGE;
    case ST_NOT_FOUND: return EXIT_ENVIRONMENT;
    case ST_NOMEM: return EXIT_ENVIRONMENT;
    case ST_IO: return EXIT_ENVIRONMENT;
    case ST_DEVICE: return EXIT_ENVIRONMENT;
    case ST_MISMATCH: return EXIT_NOT_COMPARABLE;
    case ST_INTERRUPTED: return EXIT_INTERRUPTED;
    case ST_INTERNAL: return EXIT_INTERNAL;
    }
    return EXIT_INTERNAL;
}

static void put_usage(struct buf *b)
{
    buf_puts(b,
             "desbench: what accuracy and speed cost, in experts\n\nUsage: desbench VERB ...\n\n");
    for (int i = 0; i < N_VERBS; i++)
        buf_printf(b, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    buf_puts(
        b, "\n`desbench VERB --help` says more about one; `desbench --version` what this is.\n"
           "With no arguments, `desbench run` evaluates the bundled model on the bundled suites.\n"
           "Exit codes: 0 done, 1 check failed, 2 usage or unusable input, 3 environment,\n"
           "4 not comparable, 5 undecided, 6 incomplete, 7 judge or internal fault, 130 "
           "interrupted.\n");
}

static void put_help(const struct verb *v, struct buf *b)
{
    buf_printf(b, "Usage: desbench %s [OPTION...]%s%s\n\n%s\n", v->name, *v->args ? " " : "",
               v->args, v->help);
    options_put_help(v->bit, b);
}

/* The plan file that the argument, --config or DESBENCH_CONFIG names, if any. */
static enum status read_plan(struct options *c, struct error *err)
{
    const char *name = c->n_args ? c->args[0] : options_text(c, OPT_CONFIG), *path;
    struct plan_file plan = { 0 };
    struct arena a = { 0 };
    enum status st;

    if (!name)
        return ST_OK;
    if (c->n_args && c->values[OPT_CONFIG].source == SOURCE_COMMAND_LINE)
        return error_set(err, ST_INVALID, "two plans, '%s' and '%s' (--config)", name,
                         options_text(c, OPT_CONFIG));
    if (c->n_args) /* so that the stored configuration names it */
        st = options_set(c, OPT_CONFIG, &name, 1, SOURCE_COMMAND_LINE, NULL, err);
    else
        st = ST_OK;
    if (!st)
        st = path_plan(name, &a, &path, err);
    if (!st)
        st = plan_file_read(path, c->verb, &plan, err);
    if (!st)
        st = plan_file_apply(&plan, &plan.common, c, err);
    plan_file_release(&plan);
    arena_release(&a);
    return st;
}

static enum status run_verb(const struct verb *v, int argc, char **argv, enum exit_code *ret_exit,
                            struct error *err)
{
    struct options c = { 0 };
    struct buf text = { 0 };
    enum status st;

    /* --help wins over any mistake beside it */
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            put_help(v, &text);
            st = verb_print(&text, err);
            goto out;
        }
    }
    st = options_parse(v->bit, argc, argv, &c, err);
    if (st)
        goto out;
    if ((int)c.n_args < v->min_args || (v->max_args >= 0 && (int)c.n_args > v->max_args)) {
        if ((int)c.n_args < v->min_args)
            st = error_set(err, ST_INVALID, "`%s` needs %s; see `desbench %s --help`", v->name,
                           v->args, v->name);
        else
            st = error_set(err, ST_INVALID, "`%s` does not know what to do with '%s'", v->name,
                           c.args[v->max_args]);
        goto out;
    }
    if (v->takes_plan) {
        st = read_plan(&c, err);
        if (st)
            goto out;
    }
    if (options_flag(&c, OPT_QUIET))
        log_set_level(LOG_WARN);
    else if (options_flag(&c, OPT_VERBOSE))
        log_set_level(LOG_DEBUG);
    st = v->run(&c, ret_exit, err);
out:
    options_release(&c);
    buf_release(&text);
    return st;
}

/* A file that is mapped, as checkpoints are, lost its end, or the disk failed: the program cannot
 * go on from where it is. What a run has stored is whole, and `resume` goes on with it. */
static void on_bus_error(int sig)
{
    static const char text[] = "desbench: error: a file was cut or could not be read while it was "
                               "in use (a checkpoint?); finished samples are kept\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

    (void)sig;
    (void)n;
    _exit(EXIT_ENVIRONMENT);
}

/*
 * Descriptors 0 to 2 are taken, so that nothing opened later becomes standard output by accident.
 * A closed one is replaced by one that fails: what cannot be read or written is to be an error.
 */
static bool keep_standard_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    struct error err = { 0 };
    struct buf text = { 0 };
    enum exit_code code = EXIT_DONE;
    const struct verb *verb = NULL;
    enum status st = ST_OK;
    char hash[SHA256_HEX_SIZE];

    if (!keep_standard_descriptors())
        return EXIT_ENVIRONMENT;
    /* a closed pipe and a file grown to its limit are write errors, reported as such */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGBUS, on_bus_error);
    for (int i = 0; argc > 1 && i < N_VERBS; i++)
        if (strcmp(argv[1], verbs[i]->name) == 0)
            verb = verbs[i];
    /* libcrypto sets itself up with the first hash and can crash where memory runs out there, so
     * it does before anything else takes some */
    st = sha256_hex("", 0, hash, &err);
    if (st) {
        /* told below */
    } else if (verb) {
        st = run_verb(verb, argc - 2, argv + 2, &code, &err);
    } else if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        buf_printf(&text, "desbench %s (%s)\n%s, %s\n", build_version, build_commit, build_compiler,
                   build_flags);
        st = verb_print(&text, &err);
    } else if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
                            strcmp(argv[1], "help") == 0)) {
        put_usage(&text);
        st = verb_print(&text, &err);
    } else if (argc > 1) {
        st =
            error_set(&err, ST_INVALID, "unknown verb '%s'; `desbench --help` lists them", argv[1]);
    } else {
        put_usage(&text);
        fputs(buf_str(&text), stderr);
        code = EXIT_USAGE;
    }
    buf_release(&text);
    if (st) {
        log_error("%s", err.text);
        code = exit_code_of(st);
    }
    return (int)code;
}
