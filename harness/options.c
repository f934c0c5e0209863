/* Options: the table, and everything that is read off it. */
#include "harness/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "harness/ranges.h"

#define ASK "What to ask"
#define COMPAT "Habits of other harnesses"
#define MODEL "Model"
#define DECODE "Decoding"
#define JUDGE "Judging"
#define FETCH "Fetching"
#define DECIDE "Deciding"
#define OUT "Output"
#define TALK "Talk"

enum {
    RUN = VERB_RUN | VERB_SWEEP,
    OBSERVING = VERB_ROUTING | VERB_TRACE | VERB_FIDELITY, /* run a model, store nothing */
    MODELS = RUN | VERB_BENCH | OBSERVING,                 /* runs a model */
    JUDGING = RUN | VERB_VALIDATE | VERB_SCORE,
    HOLDING = JUDGING | VERB_SANDBOX, /* runs programs */
    READING = JUDGING | VERB_EXTRACT,
    DATA = READING | VERB_EXPORT | VERB_IMPORT | OBSERVING, /* reads data sets */
    TABLES =
        VERB_SHOW | VERB_LS | OBSERVING | VERB_COMPARE | VERB_GATE | VERB_BENCH, /* in every form */
    /* may differ when a run goes on: where things lie, how fast */
    RUNNING = RUN | VERB_RESUME,
    COMPARING = VERB_COMPARE | VERB_GATE,
};

const struct option_def option_table[N_OPTIONS] = {
    [OPT_CONFIG] = { "config", 'C', OPTION_TEXT, VERB_RUN, ASK, "PLAN", NULL, "none", 0, 0, NULL,
                     NULL,
                     "plan file (YAML) with options by their long names, or the name of a bundled "
                     "one; environment and command line win over it" },
    [OPT_TASKS] = { "tasks", 't', OPTION_WORDS,
                    RUN | VERB_VALIDATE | VERB_EXPORT | VERB_IMPORT | OBSERVING | COMPARING |
                        VERB_BASELINE | VERB_REPORT,
                    ASK, "A,B,...", NULL,
                    "the five mini suites, with dummy weights the bundled samples; validate: all "
                    "real "
                    "sets; import: what each file says; else all of the run",
                    0, 0, NULL, NULL, "tasks by name; `desbench ls tasks` lists them" },
    [OPT_LIMIT] = { "limit", 'L', OPTION_INT, JUDGING | OBSERVING | VERB_BENCH, ASK, "N", NULL,
                    "all items", 1, 1e9, NULL, NULL, "only the first N items of each task" },
    [OPT_SAMPLES] = { "samples", 'E', OPTION_WORDS, JUDGING | OBSERVING, ASK, "ID,...", NULL,
                      "all items", 0, 0, NULL, NULL,
                      "only the items with these ids, separated by commas, e.g. "
                      "HumanEval/0,HumanEval/7; "
                      "--limit then counts among them" },
    [OPT_DATA_DIR] = { "data-dir", 0, OPTION_TEXT,
                       DATA | VERB_RESUME | VERB_LS | VERB_DOCTOR | VERB_DATA, ASK, "DIR", NULL,
                       "$DESBENCH_DATA, else ~/.local/share/desbench/data", 0, 0, NULL,
                       "DESBENCH_DATA",
                       "folder with the public data sets (HumanEval.jsonl.gz, ...)" },
    [OPT_PROMPT_FORM] = { "prompt-form", 0, OPTION_TEXT,
                          RUN | VERB_SCORE | VERB_EXTRACT | OBSERVING, ASK, "NAME", NULL,
                          "each task's own; extract: outputs stand alone", 0, 0, NULL, NULL,
                          "prompt form; `desbench ls forms` lists each task's" },
    [OPT_NO_DATA_CHECK] = { "no-data-check", 0, OPTION_FLAG, DATA, ASK, NULL, NULL, NULL, 0, 0,
                            NULL, NULL,
                            "accept a data file whose SHA-256 is not the pinned one (the hash "
                            "found is what gets stored)" },
    [OPT_HUMANEVAL_LSTRIP] = { "humaneval-lstrip", 0, OPTION_FLAG, READING, COMPAT, NULL, NULL,
                               NULL, 0, 0, NULL, NULL,
                               "HumanEval: drop white space before a fenced block's code and "
                               "indent nothing, as OpenCompass does" },
    [OPT_PRO_FIRST_BLOCK] = { "pro-first-block", 0, OPTION_FLAG, READING, COMPAT, NULL, NULL, NULL,
                              0, 0, NULL, NULL,
                              "HumanEval Pro: only the first fenced block counts, as in "
                              "CodeEval-Pro and OpenCompass" },
    [OPT_PRO_SANITIZED] = { "pro-sanitized", 0, OPTION_FLAG, READING, COMPAT, NULL, NULL, NULL, 0,
                            0, NULL, NULL,
                            "HumanEval Pro: cut programs at 'if __name__', '# Test' or "
                            "'# Example ', as CodeEval-Pro's second score does" },
    [OPT_MBPP_NO_SETUP] = { "mbpp-no-setup", 0, OPTION_FLAG, READING, COMPAT, NULL, NULL, NULL, 0,
                            0, NULL, NULL,
                            "MBPP: leave test_setup_code out, as lm-eval and OpenCompass do "
                            "(nothing passes item 367 then)" },
    [OPT_MODEL] = { "model", 'm', OPTION_TEXT, RUNNING | VERB_BENCH | OBSERVING, MODEL, "DIR", NULL,
                    "the bundled mini-e64; bench, and with dummy weights: tiny-llada-moe", 0, 0,
                    NULL, NULL,
                    "model folder in Hugging Face layout, or the name of a bundled one" },
    [OPT_LOAD_FORMAT] = { "load-format", 0, OPTION_TEXT, MODELS, MODEL, "F", "safetensors", NULL, 0,
                          0, "safetensors|dummy", NULL,
                          "where weights come from; dummy invents random ones of the right shape "
                          "(speed and plumbing only: its answers mean nothing)" },
    [OPT_DUMMY_SEED] = { "dummy-seed", 0, OPTION_INT, MODELS, MODEL, "N", "0", NULL, 0, 0x1p53,
                         NULL, NULL, "seed of dummy weights" },
    [OPT_OVERRIDE] = { "override", 0, OPTION_LIST, MODELS, MODEL, "KEY=VALUE", NULL, NULL, 0, 0,
                       NULL, NULL,
                       "change a key of config.json (dummy weights only), e.g. "
                       "num_hidden_layers=2; may be repeated" },
    [OPT_BACKEND] = { "backend", 0, OPTION_TEXT, MODELS, MODEL, "NAME", NULL,
                      "the fastest that this machine runs", 0, 0, NULL, NULL,
                      "kernel backend; `desbench ls backends` lists them" },
    [OPT_ISA] = { "isa", 0, OPTION_TEXT, RUNNING | VERB_BENCH | OBSERVING, MODEL, "NAME", NULL,
                  "the best that keeps f32", 0, 0, "generic|avx2|avx512|avx512bf16|amx", NULL,
                  "instruction set of backend cpu" },
    [OPT_NUMERIC] = { "numeric", 0, OPTION_TEXT, MODELS, MODEL, "MODE", "invariant", NULL, 0, 0,
                      "invariant|fast", NULL,
                      "arithmetic of backend cuda; fast: large batches go faster, and an answer "
                      "may "
                      "depend on what else is in its batch" },
    [OPT_UNPINNED] = { "unpinned", 0, OPTION_FLAG, MODELS, MODEL, NULL, NULL, NULL, 0, 0, NULL,
                       NULL, "let threads of backend cpu move between processors" },
    [OPT_DIAGNOSE] = { "diagnose", 0, OPTION_FLAG, RUN, MODEL, NULL, NULL, NULL, 0, 0, NULL, NULL,
                       "measure how far each layer's output is from that of the model's own "
                       "routing "
                       "(slower; same answers)" },
    [OPT_KERNEL_TIMES] = { "kernel-times", 0, OPTION_INT, RUN, MODEL, "N", "0", NULL, 0, 1 << 20,
                           NULL, NULL,
                           "run the forward of one in N steps, drawn at random, once more and time "
                           "its parts layer by layer; that is in no other time, but no energy is "
                           "measured; 0: of none" },
    [OPT_BENCH_TOKENS] = { "tokens", 0, OPTION_INT, VERB_BENCH, DECODE, "N", "32", NULL, 1, 4096,
                           NULL, NULL,
                           "tokens of a sequence in a forward (forward, ops), of its prompt "
                           "(decode), of a layer (moe; route: 16, 32, 64 and 128)" },
    [OPT_BENCH_PREFIX] = { "prefix", 0, OPTION_INT, VERB_BENCH, DECODE, "N", "0", NULL, 0, 65536,
                           NULL, NULL, "cached positions before the tokens (forward)" },
    [OPT_BENCH_UNIQUE] = { "unique", 0, OPTION_INT, VERB_BENCH, DECODE, "N[,N...]", NULL,
                           "what the router chooses; moe: those of the papers", 1, 1024, NULL, NULL,
                           "distinct experts of each layer that tokens go to, dealt to them "
                           "(forward, decode, moe)",
                           .is_axis = true },
    [OPT_BENCH_REPEATS] = { "repeats", 0, OPTION_INT, VERB_BENCH, OUT, "N", "11", NULL, 1, 10000,
                            NULL, NULL, "timed samples of each, after two that warm up" },
    [OPT_BENCH_TRACE] = { "trace", 0, OPTION_TEXT, VERB_BENCH, DECODE, "FILE", NULL, NULL, 0, 0,
                          NULL, NULL,
                          "time the experts on the routing of a trace (moe); --limit: of so many "
                          "layers of forwards, evenly spread [256]" },
    [OPT_THREADS] = { "threads", 0, OPTION_INT, RUNNING | VERB_BENCH | OBSERVING, MODEL, "N", NULL,
                      "all processors", 1, 4096, NULL, NULL, "threads of the CPU backend" },
    [OPT_BATCH_SIZE] = { "batch-size", 'b', OPTION_INT, RUNNING | VERB_BENCH, MODEL, "N", "1", NULL,
                         1, 256, NULL, NULL,
                         "sequences denoised together; answers do not depend on it (but for "
                         "scope=batch)" },
    [OPT_SELECTOR] = { "selector", 0, OPTION_LIST, RUN | VERB_BENCH | VERB_TRACE | VERB_FIDELITY,
                       DECODE, "S", "vanilla", NULL, 0, 0, NULL, NULL,
                       "expert selection NAME[:field=value,...]; repeat it to compare "
                       "several; `desbench ls selectors` lists them" },
    [OPT_DECODER] = { "decoder", 0, OPTION_TEXT, MODELS, DECODE, "NAME", NULL, "the model's", 0, 0,
                      NULL, NULL, "which proposals to commit; `desbench ls decoders`",
                      .is_axis = true },
    [OPT_CACHE] = { "cache", 0, OPTION_TEXT, MODELS, DECODE, "NAME", NULL, "the model's", 0, 0,
                    NULL, NULL, "key/value cache policy; `desbench ls caches`", .is_axis = true },
    [OPT_PREFIX_LOOK] = { "prefix-look", 0, OPTION_INT, MODELS, DECODE, "N", NULL, "the model's", 0,
                          1 << 20, NULL, NULL,
                          "positions before the block that each step recomputes (cache vicinity)" },
    [OPT_AFTER_LOOK] = { "after-look", 0, OPTION_INT, MODELS, DECODE, "N", NULL, "the model's", 0,
                         1 << 20, NULL, NULL,
                         "positions behind the block that each step recomputes (cache vicinity)" },
    [OPT_CACHE_WARMUP] = { "cache-warmup", 0, OPTION_INT, MODELS, DECODE, "N", NULL, "the model's",
                           0, 1 << 20, NULL, NULL,
                           "first steps of an answer without a cache (cache vicinity)" },
    [OPT_GEN_LENGTH] = { "gen-length", 0, OPTION_INT, MODELS, DECODE, "N", NULL,
                         "each task's own, in whole blocks", 1, 1 << 20, NULL, NULL,
                         "positions to denoise, a multiple of the block length", .is_axis = true },
    [OPT_BLOCK_LENGTH] = { "block-length", 0, OPTION_INT, MODELS, DECODE, "N", NULL, "the model's",
                           1, 1 << 16, NULL, NULL, "positions denoised together", .is_axis = true },
    [OPT_STEPS] = { "steps", 0, OPTION_INT, MODELS, DECODE, "N", NULL, "one a position", 1, 1 << 20,
                    NULL, NULL,
                    "denoising steps: of decoder low-confidence over all blocks, of "
                    "block-diffusion of each",
                    .is_axis = true },
    [OPT_THRESHOLD] = { "threshold", 0, OPTION_REAL, MODELS, DECODE, "P", NULL, "the model's", 0, 1,
                        NULL, NULL,
                        "commit proposals this sure (decoders threshold, hierarchy, "
                        "credit, block-diffusion, edit)",
                        .is_axis = true },
    [OPT_LOW_THRESHOLD] = { "low-threshold", 0, OPTION_REAL, MODELS, DECODE, "P", NULL,
                            "the model's, as a rule 0.62", 0, 1, NULL, NULL,
                            "commit the best of a run of masks if this sure (decoder hierarchy)",
                            .is_axis = true },
    [OPT_FACTOR] = { "factor", 0, OPTION_REAL, MODELS, DECODE, "F", NULL,
                     "the model's, as a rule 1", 0, 1e6, NULL, NULL,
                     "commit n at once where (n + 1) times their doubt is at most this (decoder "
                     "factor)",
                     .is_axis = true },
    [OPT_EDIT_THRESHOLD] = { "edit-threshold", 0, OPTION_REAL, MODELS, DECODE, "P", NULL,
                             "the model's, as a rule 0.9", 0, 1, NULL, NULL,
                             "replace tokens by proposals surer than this; 1: never (decoder edit)",
                             .is_axis = true },
    [OPT_MAX_POST_STEPS] = { "max-post-steps", 0, OPTION_INT, MODELS, DECODE, "N", NULL,
                             "the model's, as a rule 16", 0, 10000, NULL, NULL,
                             "most steps over a block that has no mask any more (decoder edit)",
                             .is_axis = true },
    [OPT_CREDIT_ALPHA] = { "credit-alpha", 0, OPTION_REAL, MODELS, DECODE, "A", NULL,
                           "the model's, as a rule 0.7", 0, 1000, NULL, NULL,
                           "weight of credit in the logits (decoder credit)" },
    [OPT_CREDIT_DECAY] = { "credit-decay", 0, OPTION_REAL, MODELS, DECODE, "P", NULL,
                           "the model's, as a rule 0.8", 0, 1, NULL, NULL,
                           "what a step leaves of earlier credit (decoder credit)" },
    [OPT_CREDIT_BOOST] = { "credit-boost", 0, OPTION_REAL, MODELS, DECODE, "G", NULL,
                           "the model's, as a rule 0.2", 0, 1000, NULL, NULL,
                           "a proposal of probability p gets p to this power (decoder credit)" },
    [OPT_SMOOTHING] = { "smoothing", 0, OPTION_REAL, MODELS, DECODE, "P", NULL,
                        "the model's, as a rule 0", 0, 1, NULL, NULL,
                        "iteration smoothing: masks are embedded with at most this share of what "
                        "the step before expected there; 0: none, dInfer's is 0.3",
                        .is_axis = true },
    [OPT_SMOOTHING_INIT] = { "smoothing-init", 0, OPTION_REAL, MODELS, DECODE, "P", NULL,
                             "the model's, as a rule 0.15", 0, 1, NULL, NULL,
                             "that share at the first step (with --smoothing)" },
    [OPT_SMOOTHING_GROWTH] = { "smoothing-growth", 0, OPTION_REAL, MODELS, DECODE, "P", NULL,
                               "the model's, as a rule 0.02", 0, 1, NULL, NULL,
                               "what each step adds to it (with --smoothing)" },
    [OPT_SMOOTHING_DECAY] = { "smoothing-decay", 0, OPTION_REAL, MODELS, DECODE, "P", NULL,
                              "the model's, as a rule 0.02", 0, 1, NULL, NULL,
                              "the threshold begins at 1 and falls by this a step (with "
                              "--smoothing)" },
    [OPT_TEMPERATURE] = { "temperature", 0, OPTION_REAL, RUN | VERB_TRACE, DECODE, "T", NULL,
                          "0, greedy", 0, 100, NULL, NULL, "sampling temperature",
                          .is_axis = true },
    [OPT_TOP_K] = { "top-k", 0, OPTION_INT, RUN | VERB_TRACE, DECODE, "N", NULL,
                    "the model's, as a rule 0", 0, 1e9, NULL, NULL,
                    "sample of the N best tokens; 0: of all (decoders block-diffusion and edit, "
                    "with --temperature)",
                    .is_axis = true },
    [OPT_TOP_P] = { "top-p", 0, OPTION_REAL, RUN | VERB_TRACE, DECODE, "P", NULL,
                    "the model's, as a rule 1", 0, 1, NULL, NULL,
                    "sample of the best tokens that together have this probability; 1: of all "
                    "(likewise)",
                    .is_axis = true },
    [OPT_N_SAMPLES] = { "n-samples", 'n', OPTION_INT, RUN, DECODE, "N", "1", NULL, 1, 1e6, NULL,
                        NULL, "answers an item, with seeds that follow from --seed" },
    [OPT_SEED] = { "seed", 0, OPTION_INT, RUN | VERB_TRACE | VERB_FIDELITY, DECODE, "N", "0", NULL,
                   0, 0x1p53, NULL, NULL, "seed of sampling", .is_axis = true },
    [OPT_CELLS] = { "cells", 0, OPTION_TEXT, RUN, DECODE, "N/M", NULL, "all", 0, 0, NULL, NULL,
                    "only every M-th cell, from the N-th on: a share for one of M machines",
                    .is_command_only = true },
    [OPT_SKIP_STORED] = { "skip-stored", 0, OPTION_FLAG, VERB_RUN, OUT, NULL, NULL, NULL, 0, 0,
                          NULL, NULL,
                          "leave out cells that finished runs of the results file hold, as `sweep` "
                          "does",
                          .is_command_only = true },
    [OPT_SANDBOX_LEVEL] = { "sandbox-level", 0, OPTION_TEXT, HOLDING, JUDGE, "LEVEL", NULL,
                            "the strongest this machine offers, full or user", 0, 0, "user|full",
                            NULL, "isolation that must be there; refuses to judge with less" },
    [OPT_ENTRY_POINT] = { "entry-point", 0, OPTION_TEXT, VERB_SANDBOX, JUDGE, "NAME", NULL, "none",
                          0, 0, NULL, NULL, "function of the program that the tests call" },
    [OPT_ONE_PROCESS] = { "one-process", 0, OPTION_FLAG, VERB_SANDBOX, JUDGE, NULL, NULL, NULL, 0,
                          0, NULL, NULL,
                          "run the tests in the program's own process, where they see its types "
                          "and "
                          "it can forge a pass" },
    [OPT_JOBS] = { "jobs", 'j', OPTION_INT, JUDGING | VERB_RESUME, JUDGE, "N", NULL,
                   "one a processor", 1, 256, NULL, NULL, "programs judged at once" },
    [OPT_TIMEOUT] = { "timeout", 0, OPTION_REAL, HOLDING, JUDGE, "S", "10", NULL, 0.1, 3600, NULL,
                      NULL, "seconds of CPU time a program may use" },
    [OPT_WALL_TIMEOUT] = { "wall-timeout", 0, OPTION_REAL, HOLDING, JUDGE, "S", NULL,
                           "twice --timeout", 0.1, 7200, NULL, NULL,
                           "seconds a program may last in all" },
    [OPT_MEMORY] = { "memory", 0, OPTION_INT, HOLDING, JUDGE, "MIB", "2048", NULL, 64, 1 << 24,
                     NULL, NULL, "memory of a program and its children, MiB" },
    [OPT_MUTANTS] = { "mutants", 0, OPTION_INT, VERB_VALIDATE, JUDGE, "N", "2", NULL, -1, 32, NULL,
                      NULL,
                      "changed copies of each reference that its tests are tried on, beside the "
                      "stubs; 0: stubs only; -1: no mutants" },
    [OPT_MODEL_NAME] = { "model-name", 0, OPTION_TEXT, VERB_SCORE | VERB_IMPORT, ASK, "NAME", NULL,
                         "what the file says, else its name", 0, 0, NULL, NULL,
                         "the model that made the answers" },
    [OPT_PARTIAL] = { "partial", 0, OPTION_FLAG, VERB_SCORE, ASK, NULL, NULL, NULL, 0, 0, NULL,
                      NULL, "items without an answer are meant to be: not an incomplete score" },
    [OPT_RESULTS] = { "results", 0, OPTION_TEXT,
                      VERB_EXPORT | COMPARING | VERB_BASELINE | VERB_FIDELITY | VERB_REPORT, ASK,
                      "PATH", "runs", NULL, 0, 0, NULL, "DESBENCH_OUTPUT",
                      "the results that hold the run: a folder or an .sqlite file" },
    [OPT_EXPORT_SELECTOR] = { "selector", 0, OPTION_TEXT, VERB_EXPORT, ASK, "S", NULL,
                              "all of the run", 0, 0, NULL, NULL,
                              "only answers made under this selector, as `desbench show` has it",
                              .is_command_only = true },
    [OPT_BASELINE] = { "baseline", 'b', OPTION_TEXT, VERB_GATE, DECIDE, "RUN|FILE", NULL, NULL, 0,
                       0, NULL, NULL,
                       "what the candidate is held against: a run, or a file of `baseline "
                       "export`" },
    [OPT_MARGIN] = { "margin", 0, OPTION_TEXT, VERB_GATE, DECIDE, "M", "2pt", NULL, 0, 0, NULL,
                     NULL, "loss that is tolerated, over all tasks: points, or a fraction" },
    [OPT_UNDECIDED] = { "undecided", 0, OPTION_TEXT, VERB_GATE, DECIDE, "WHAT", NULL,
                        "fail where the variable CI is set, else report", 0, 0,
                        "fail|warn|pass|report", NULL,
                        "exit code of an undecided gate: 1, 0 with a warning, 0, or 5" },
    [OPT_FIXED_SUITE] = { "fixed-suite", 0, OPTION_FLAG, VERB_GATE, DECIDE, NULL, NULL, NULL, 0, 0,
                          NULL, NULL,
                          "no inference: these items are all that matters; more lost than --margin "
                          "fails" },
    [OPT_NOISE] = { "noise", 0, OPTION_LIST, VERB_GATE, DECIDE, "RUN", NULL, NULL, 0, 0, NULL, NULL,
                    "a run of the baseline's model with a neutral change (threshold +-0.01, "
                    "another "
                    "backend, white space in the prompt): shows what changes mean nothing; may be "
                    "repeated" },
    [OPT_CHURN] = { "churn", 0, OPTION_REAL, VERB_GATE, DECIDE, "PCT", NULL,
                    "what --noise showed, else 2", 0, 100, NULL, NULL,
                    "gate plan: per cent of verdicts that change without meaning" },
    [OPT_ALLOW_MISMATCH] = { "allow-mismatch", 0, OPTION_FLAG, COMPARING, DECIDE, NULL, NULL, NULL,
                             0, 0, NULL, NULL,
                             "compare what both have though items, prompts or checkers differ, or "
                             "a "
                             "run is not complete" },
    [OPT_DRAWS] = { "draws", 0, OPTION_INT, COMPARING | VERB_REPORT, DECIDE, "N", "10000", NULL,
                    10000, 1e6, NULL, NULL, "resamples of the bootstrap intervals" },
    [OPT_DRAWS_SEED] = { "seed", 0, OPTION_INT, COMPARING | VERB_REPORT, DECIDE, "N", "0", NULL, 0,
                         0x1p53, NULL, NULL, "seed of the bootstrap", .is_command_only = true },
    [OPT_FLIPS] = { "flips", 0, OPTION_INT, COMPARING, OUT, "N", "20", NULL, 0, 1e6, NULL, NULL,
                    "list so many changed verdicts; JSON lists all" },
    [OPT_STORE] = { "store", 0, OPTION_FLAG, COMPARING, OUT, NULL, NULL, NULL, 0, 0, NULL, NULL,
                    "keep the comparison in the candidate's results (table `comparison`)" },
    [OPT_JUNIT] = { "junit", 0, OPTION_TEXT, VERB_GATE, OUT, "FILE", NULL, NULL, 0, 0, NULL, NULL,
                    "write JUnit XML: the gate and every item as a test case" },
    [OPT_GITHUB_SUMMARY] = { "github-summary", 0, OPTION_FLAG, VERB_GATE, OUT, NULL, NULL, NULL, 0,
                             0, NULL, NULL,
                             "add the tables as Markdown to the file that GITHUB_STEP_SUMMARY "
                             "names" },
    [OPT_BASELINE_OUTPUT] = { "output", 'o', OPTION_TEXT, VERB_BASELINE, OUT, "FILE", "-", NULL, 0,
                              0, NULL, NULL, "file to write, - for standard output",
                              .is_command_only = true },
    [OPT_EXPORT_OUTPUT] = { "output", 'o', OPTION_TEXT, VERB_EXPORT, OUT, "PATH", NULL,
                            "named after the run, in this folder", 0, 0, NULL, NULL,
                            "file to write, - for standard output, or folder for the files",
                            .is_command_only = true },
    [OPT_EXPORT_FORMAT] = { "format", 0, OPTION_TEXT, VERB_EXPORT, OUT, "F", "jsonl", NULL, 0, 0,
                            "jsonl|csv|summary-csv|lm-eval|evalplus|evalplus-raw|human-eval|"
                            "llama-bench",
                            NULL, "form of the files", .is_command_only = true },
    [OPT_FORCE] = { "force", 0, OPTION_FLAG, VERB_EXPORT | VERB_DATA | VERB_BASELINE | VERB_TRACE,
                    OUT, NULL, NULL, NULL, 0, 0, NULL, NULL,
                    "write over files that are there; data: fetch those that are right too" },
    [OPT_OUTPUT] = { "output", 'o', OPTION_TEXT,
                     RUNNING | VERB_SHOW | VERB_LS | VERB_SCORE | VERB_IMPORT, OUT, "PATH", "runs",
                     NULL, 0, 0, NULL, NULL,
                     "results: a folder (holds results.sqlite) or an .sqlite file" },
    [OPT_FORMAT] = { "format", 0, OPTION_TEXT,
                     RUNNING | VERB_VALIDATE | VERB_DOCTOR | VERB_SCORE | VERB_IMPORT | VERB_DATA |
                         VERB_SANDBOX,
                     OUT, "F", "text", NULL, 0, 0, "text|json", NULL, "what to print on stdout" },
    [OPT_TABLE_FORMAT] = { "format", 0, OPTION_TEXT, TABLES, OUT, "F", "text", NULL, 0, 0,
                           "text|json|markdown|csv", NULL, "what to print on stdout" },
    [OPT_JSON] = { "json", 0, OPTION_FLAG,
                   RUNNING | VERB_VALIDATE | VERB_SHOW | VERB_LS | VERB_DOCTOR | VERB_SCORE |
                       VERB_IMPORT | VERB_DATA | VERB_BENCH | VERB_SANDBOX | OBSERVING | COMPARING,
                   OUT, NULL, NULL, NULL, 0, 0, NULL, NULL, "the same as --format json" },
    [OPT_DRY_RUN] = { "dry-run", 0, OPTION_FLAG, RUN, OUT, NULL, NULL, NULL, 0, 0, NULL, NULL,
                      "print the plan (cells, items, tokens, memory) and stop" },
    [OPT_SHOW_CONFIG] = { "show-config", 0, OPTION_FLAG, RUN, OUT, NULL, NULL, NULL, 0, 0, NULL,
                          NULL, "print every setting and where it comes from, and stop" },
    [OPT_FULL] = { "full", 0, OPTION_FLAG, VERB_SHOW, OUT, NULL, NULL, NULL, 0, 0, NULL, NULL,
                   "show prompts and every denoising step in full" },
    [OPT_POPULARITY] = { "popularity", 0, OPTION_FLAG, VERB_SHOW, OUT, NULL, NULL, NULL, 0, 0, NULL,
                         NULL,
                         "tokens that each expert of each layer got in a run, as JSON: the file of "
                         "`--selector static:m=N,file=F`" },
    [OPT_BY] = { "by", 0, OPTION_TEXT, VERB_SHOW, OUT, "FIELD", NULL, "no classes", 0, 0, NULL,
                 NULL,
                 "scores of a run by class of item or answer: level, subject, stop_reason, "
                 "extraction_method, or a task's own word (mini suites: depth, frequency); or what "
                 "it measured: kernel (times of a forward's parts), layer (the same by layer), "
                 "energy",
                 .is_command_only = true },
    [OPT_MIRROR] = { "mirror", 0, OPTION_TEXT, VERB_DATA, FETCH, "URL", NULL, "upstream's servers",
                     0, 0, NULL, NULL,
                     "a server that has the same paths: takes the place of https://HOST in every "
                     "address; http:// will do" },
    [OPT_OFFLINE] = { "offline", 0, OPTION_FLAG, VERB_DATA, FETCH, NULL, NULL, NULL, 0, 0, NULL,
                      NULL, "use no network: say what is missing and where it is to be had" },
    [OPT_NET_TIMEOUT] = { "net-timeout", 0, OPTION_INT, VERB_DATA, FETCH, "S", "30", NULL, 1, 3600,
                          NULL, NULL, "seconds without an answer, or nearly, before giving up" },
    [OPT_RETRIES] = { "retries", 0, OPTION_INT, VERB_DATA, FETCH, "N", "3", NULL, 0, 20, NULL, NULL,
                      "further tries after a broken transfer, a timeout or a server's fault" },
    [OPT_AGAINST] = { "against", 0, OPTION_TEXT, VERB_LS, DECIDE, "SELECTOR", NULL, "none", 0, 0,
                      NULL, NULL,
                      "policies: what each keeps of this selector's accuracy, and how many fewer "
                      "experts it reads",
                      .is_command_only = true },
    [OPT_LS_SELECTOR] = { "selector", 0, OPTION_LIST, VERB_LS, DECIDE, "S", NULL, "all", 0, 0, NULL,
                          NULL,
                          "policies --against: only this one, NAME for all its settings; may be "
                          "repeated",
                          .is_command_only = true },
    [OPT_KEEP] = { "keep", 0, OPTION_REAL, VERB_LS, DECIDE, "SHARE", "0.99", NULL, 0, 10, NULL,
                   NULL, "policies --against: the share of accuracy that must be kept",
                   .is_command_only = true },
    [OPT_SAVE] = { "save", 0, OPTION_REAL, VERB_LS, DECIDE, "SHARE", "0.45", NULL, 0, 1, NULL, NULL,
                   "policies --against: the share of unique experts in a block that must be "
                   "saved",
                   .is_command_only = true },
    [OPT_TRACE_TOP] = { "top", 0, OPTION_INT, VERB_TRACE, OUT, "N", NULL, "all of them", 1, 1024,
                        NULL, NULL,
                        "record: keep the N largest scores of each token and the sum of the "
                        "others" },
    [OPT_TRACE_OUTPUT] = { "output", 'o', OPTION_TEXT, VERB_TRACE, OUT, "FILE", NULL, "none", 0, 0,
                           NULL, NULL, "record: the trace to write", .is_command_only = true },
    [OPT_REPORT_OUTPUT] = { "output", 'o', OPTION_TEXT, VERB_REPORT, OUT, "DIR", "report", NULL, 0,
                            0, NULL, NULL,
                            "folder for the page and its figures; files of the same names are "
                            "replaced",
                            .is_command_only = true },
    [OPT_CLAIMS] = { "claims", 0, OPTION_FLAG, VERB_REPORT, ASK, NULL, NULL, NULL, 0, 0, NULL, NULL,
                     "answer the claims of plans/claims.yaml from one results file: printed, and "
                     "in "
                     "the page" },
    [OPT_BENCH] = { "bench", 0, OPTION_LIST, VERB_REPORT, ASK, "FILE", NULL, NULL, 0, 0, NULL, NULL,
                    "a record of `desbench bench --json`: adds a roofline with its ceilings; may "
                    "be "
                    "repeated" },
    [OPT_PROGRESS] = { "progress", 0, OPTION_TEXT,
                       JUDGING | VERB_TRACE | VERB_FIDELITY | VERB_DATA | VERB_RESUME, TALK, "WHEN",
                       "auto", NULL, 0, 0, "auto|always|never", NULL,
                       "progress line on stderr: auto draws one on a terminal, else logs" },
    [OPT_QUIET] = { "quiet", 'q', OPTION_FLAG, VERB_ALL, TALK, NULL, NULL, NULL, 0, 0, NULL, NULL,
                    "only warnings and errors on stderr" },
    [OPT_VERBOSE] = { "verbose", 'v', OPTION_FLAG, VERB_ALL, TALK, NULL, NULL, NULL, 0, 0, NULL,
                      NULL, "more on stderr" },
    [OPT_HELP] = { "help", 'h', OPTION_FLAG, VERB_ALL, TALK, NULL, NULL, NULL, 0, 0, NULL, NULL,
                   "print this and stop" },
};

static const char *const source_names[] = {
    [SOURCE_DEFAULT] = "default",
    [SOURCE_PLAN] = "plan file",
    [SOURCE_ENV] = "environment",
    [SOURCE_COMMAND_LINE] = "command line",
};

/* The environment variable of an option (DESBENCH_DATA_DIR for data-dir), or its other name where
 * only that is set, and what it holds: NULL when neither is set, or to nothing. */
static const char *env_text(const struct option_def *d, struct buf *ret_name)
{
    const char *text;

    buf_clear(ret_name);
    buf_puts(ret_name, "DESBENCH_");
    for (const char *p = d->name; *p; p++)
        buf_putc(ret_name, *p == '-' ? '_' : (char)toupper((unsigned char)*p));
    text = getenv(buf_str(ret_name));
    if (d->env && (!text || !*text)) {
        buf_clear(ret_name);
        buf_puts(ret_name, d->env);
        text = getenv(d->env);
    }
    return text && *text ? text : NULL;
}

/* Is text one of "a|b|c"? */
static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);

    for (const char *p = choices; p; p = strchr(p, '|'), p = p ? p + 1 : NULL)
        if (strncmp(p, text, len) == 0 && (p[len] == '|' || p[len] == '\0'))
            return true;
    return false;
}

/* A decimal number, whole string, within the option's bounds. */
static enum status check_int(const struct option_def *d, const char *text, struct error *err)
{
    const char *digits = text + (*text == '-');
    long long v;

    if (!*digits || digits[strspn(digits, "0123456789")])
        return error_set(err, ST_INVALID, "option '--%s' needs a whole number, found '%s'", d->name,
                         text);
    errno = 0;
    v = strtoll(text, NULL, 10);
    /* the bounds are whole and within 2^53, where a double holds every integer */
    if (errno || v < (long long)d->min || v > (long long)d->max)
        return error_set(err, ST_INVALID, "option '--%s' must be %lld .. %lld, found '%s'", d->name,
                         (long long)d->min, (long long)d->max, text);
    return ST_OK;
}

static enum status check_real(const struct option_def *d, const char *text, struct error *err)
{
    char *end;
    double v = strtod(text, &end);

    /* strtod() also reads blanks, hexadecimals, infinities and NaN */
    if (end == text || *end || text[strspn(text, "0123456789+-.eE")] || !isfinite(v))
        return error_set(err, ST_INVALID, "option '--%s' needs a number, found '%s'", d->name,
                         text);
    if (v < d->min || v > d->max)
        return error_set(err, ST_INVALID, "option '--%s' must be %.15g .. %.15g, found '%s'",
                         d->name, d->min, d->max, text);
    return ST_OK;
}

static enum status check_one(const struct option_def *d, const char *text, struct error *err)
{
    if (d->kind == OPTION_FLAG && !is_choice("true|false", text))
        return error_set(err, ST_INVALID, "option '--%s' must be true or false, found '%s'",
                         d->name, text);
    if (d->kind == OPTION_INT)
        return check_int(d, text, err);
    if (d->kind == OPTION_REAL)
        return check_real(d, text, err);
    if (d->choices && !is_choice(d->choices, text))
        return error_set(err, ST_INVALID, "option '--%s' must be one of %s, found '%s'", d->name,
                         d->choices, text);
    if (d->kind != OPTION_FLAG && !*text)
        return error_set(err, ST_INVALID, "option '--%s' needs a value, found ''", d->name);
    return ST_OK;
}

/* Each value of a list. ret_n: how many. */
static enum status check_list(const struct option_def *d, const char *text, size_t *ret_n,
                              struct error *err)
{
    struct arena a = { 0 };
    const char *const *values;
    enum status st = *text ? ranges_expand(text, &a, &values, ret_n, err) : check_one(d, text, err);

    if (st && *text)
        error_prefix(err, st, "option '--%s'", d->name);
    for (size_t i = 0; *text && !st && i < *ret_n; i++)
        st = check_one(d, values[i], err);
    arena_release(&a);
    return st;
}

enum status options_check(enum option_id id, const char *text, struct error *err)
{
    size_t n;

    return option_table[id].is_axis ? check_list(&option_table[id], text, &n, err)
                                    : check_one(&option_table[id], text, err);
}

/* Store a checked value. A list grows within one source; a higher source replaces. */
static enum status set_value(struct options *c, enum option_id id, const char *text,
                             enum option_source source, struct error *err)
{
    struct option_value *v = &c->values[id];
    const struct option_def *d = &option_table[id];
    const char **texts;
    size_t n_listed = 1;
    enum status st =
        d->is_axis ? check_list(d, text, &n_listed, err) : options_check(id, text, err);

    if (!st && n_listed > 1 && (d->verbs & RUN) && !(c->verb & RUN))
        st = error_set(err, ST_INVALID, "option '--%s' takes one value here, found '%s'", d->name,
                       text);
    if (st)
        return st;
    if (option_table[id].kind != OPTION_LIST || v->source != source)
        v->n = 0;
    texts = realloc(v->texts, (v->n + 1) * sizeof(*texts));
    if (!texts)
        return error_set(err, ST_NOMEM, "out of memory reading options");
    texts[v->n++] = text;
    v->texts = texts;
    v->source = source;
    v->origin = NULL;
    return ST_OK;
}

/* Texts as one, with commas between. */
static const char *join(struct arena *a, const char *const *texts, size_t n)
{
    struct buf b = { 0 };
    const char *joined;

    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(&b, ',');
        buf_puts(&b, texts[i]);
    }
    joined = buf_ok(&b) ? arena_strdup(a, buf_str(&b), b.len) : NULL;
    buf_release(&b);
    return joined;
}

enum status options_set(struct options *c, enum option_id id, const char *const *texts, size_t n,
                        enum option_source source, const char *origin, struct error *err)
{
    const struct option_def *d = &option_table[id];
    struct option_value *v = &c->values[id];
    const char *kept = NULL;
    enum status st = ST_OK;

    if (v->source > source)
        return ST_OK;
    if (origin) {
        kept = arena_strdup(&c->arena, origin, strlen(origin));
        if (!kept)
            return error_set(err, ST_NOMEM, "out of memory reading options");
    }
    v->n = 0;
    for (size_t i = 0; i < n && !st; i++) {
        bool is_joined = d->kind == OPTION_WORDS || d->is_axis;
        const char *text = is_joined ? join(&c->arena, texts, n)
                                     : arena_strdup(&c->arena, texts[i], strlen(texts[i]));

        st = text ? set_value(c, id, text, source, err)
                  : error_set(err, ST_NOMEM, "out of memory reading options");
        if (is_joined)
            break;
    }
    v->source = source;
    v->origin = kept;
    return st;
}

static enum status read_environment(struct options *c, struct error *err)
{
    struct buf name = { 0 };
    enum status st = ST_OK;

    for (int i = 0; i < N_OPTIONS && !st; i++) {
        const struct option_def *d = &option_table[i];
        const char *text;

        if (i == OPT_HELP || !(d->verbs & c->verb) || d->is_command_only)
            continue;
        text = env_text(d, &name);
        if (!buf_ok(&name)) {
            st = error_set(err, ST_NOMEM, "out of memory reading the environment");
            break;
        }
        if (!text)
            continue;
        if (d->kind == OPTION_FLAG && !is_choice("true|false|1|0", text)) {
            st = error_set(err, ST_INVALID, "must be true or false, found '%s'", text);
        } else if (d->kind == OPTION_FLAG) {
            if (is_choice("true|1", text))
                st = set_value(c, (enum option_id)i, "true", SOURCE_ENV, err);
            else
                c->values[i].source = SOURCE_ENV; /* off, whatever a plan file says */
        } else {
            st = set_value(c, (enum option_id)i, text, SOURCE_ENV, err);
        }
        if (st)
            error_prefix(err, st, "environment variable '%s'", buf_str(&name));
    }
    buf_release(&name);
    return st;
}

/* Number of edits between two short words, capped; for "did you mean". */
static int distance(const char *a, const char *b)
{
    enum { MAX = 32 };
    int row[MAX + 1], la = (int)strlen(a), lb = (int)strlen(b);

    if (la > MAX || lb > MAX)
        return MAX;
    for (int j = 0; j <= lb; j++)
        row[j] = j;
    for (int i = 1; i <= la; i++) {
        int diag = row[0];
        row[0] = i;
        for (int j = 1; j <= lb; j++) {
            int keep = diag + (a[i - 1] != b[j - 1]);
            diag = row[j];
            if (row[j] + 1 < keep)
                keep = row[j] + 1;
            if (row[j - 1] + 1 < keep)
                keep = row[j - 1] + 1;
            row[j] = keep;
        }
    }
    return row[lb];
}

const char *options_nearest(unsigned verb, const char *name)
{
    const char *best = NULL;
    int best_distance = 4;

    for (int i = 0; i < N_OPTIONS; i++) {
        int n = distance(name, option_table[i].name);
        if ((option_table[i].verbs & verb) && n < best_distance) {
            best_distance = n;
            best = option_table[i].name;
        }
    }
    return best;
}

static enum status unknown_option(unsigned verb, const char *name, struct error *err)
{
    const char *best = options_nearest(verb, name);

    for (int i = 0; i < N_OPTIONS; i++)
        if (strcmp(option_table[i].name, name) == 0)
            return error_set(err, ST_INVALID, "option '--%s' does not belong to this verb", name);
    if (best)
        return error_set(err, ST_INVALID, "unknown option '--%s'; did you mean '--%s'?", name,
                         best);
    return error_set(err, ST_INVALID, "unknown option '--%s'; see --help", name);
}

int options_find(unsigned verb, const char *name, size_t len)
{
    for (int i = 0; i < N_OPTIONS; i++)
        if ((option_table[i].verbs & verb) && strlen(option_table[i].name) == len &&
            memcmp(option_table[i].name, name, len) == 0)
            return i;
    return N_OPTIONS;
}

static int find_letter(unsigned verb, char letter)
{
    for (int i = 0; i < N_OPTIONS; i++)
        if ((option_table[i].verbs & verb) && option_table[i].letter == letter)
            return i;
    return N_OPTIONS;
}

/* One word of argv that starts with a dash; *at is moved over a separate argument. */
static enum status read_option(struct options *c, int argc, char *const *argv, int *at,
                               struct error *err)
{
    const char *word = argv[*at], *value = NULL;
    const struct option_def *d;
    int id;

    if (word[1] == '-') {
        const char *eq = strchr(word, '=');
        size_t len = eq ? (size_t)(eq - word - 2) : strlen(word + 2);

        id = options_find(c->verb, word + 2, len);
        if (id == N_OPTIONS) {
            struct buf name = { 0 };
            enum status st;

            buf_append(&name, word + 2, len);
            st = unknown_option(c->verb, buf_str(&name), err);
            buf_release(&name);
            return st;
        }
        value = eq ? eq + 1 : NULL;
    } else {
        id = find_letter(c->verb, word[1]);
        if (id == N_OPTIONS)
            return error_set(err, ST_INVALID, "unknown option '-%c'; see --help", word[1]);
        if (word[2])
            value = word + 2;
    }
    d = &option_table[id];
    if (d->kind == OPTION_FLAG) {
        if (value)
            return error_set(err, ST_INVALID, "option '--%s' takes no value, found '%s'", d->name,
                             value);
        value = "true";
    } else if (!value) {
        if (*at + 1 >= argc)
            return error_set(err, ST_INVALID, "option '--%s' needs a value (%s)", d->name,
                             d->metavar);
        value = argv[++*at];
        if (value[0] == '-' && value[1] == '-' &&
            options_find(c->verb, value + 2, strcspn(value + 2, "=")) != N_OPTIONS)
            return error_set(err, ST_INVALID,
                             "option '--%s' needs a value (%s), found option '%s'; if it is the "
                             "value, write '--%s=%s'",
                             d->name, d->metavar, value, d->name, value);
    }
    return set_value(c, (enum option_id)id, value, SOURCE_COMMAND_LINE, err);
}

enum status options_defaults(unsigned verb, struct options *ret, struct error *err)
{
    struct options c = { .verb = verb };
    enum status st = ST_OK;

    for (int i = 0; i < N_OPTIONS && !st; i++)
        if ((option_table[i].verbs & verb) && option_table[i].deflt)
            st = set_value(&c, (enum option_id)i, option_table[i].deflt, SOURCE_DEFAULT, err);
    if (st)
        options_release(&c);
    else
        *ret = c;
    return st;
}

enum status options_parse(unsigned verb, int argc, char *const *argv, struct options *ret,
                          struct error *err)
{
    struct options c = { 0 };
    enum status st = options_defaults(verb, &c, err);
    bool is_rest = false;

    if (st)
        return st;
    c.args = calloc((size_t)argc + 1, sizeof(*c.args));
    if (!c.args)
        st = error_set(err, ST_NOMEM, "out of memory reading options");
    if (!st)
        st = read_environment(&c, err);
    for (int i = 0; i < argc && !st; i++) {
        if (!is_rest && strcmp(argv[i], "--") == 0)
            is_rest = true;
        else if (!is_rest && argv[i][0] == '-' && argv[i][1])
            st = read_option(&c, argc, argv, &i, err);
        else
            c.args[c.n_args++] = argv[i];
    }
    if (st)
        options_release(&c);
    else
        *ret = c;
    return st;
}

void options_release(struct options *c)
{
    for (int i = 0; i < N_OPTIONS; i++)
        free(c->values[i].texts);
    free(c->args);
    arena_release(&c->arena);
    *c = (struct options){ 0 };
}

bool options_has(const struct options *c, enum option_id id)
{
    return c->values[id].n > 0;
}

bool options_is_given(const struct options *c, enum option_id id)
{
    return c->values[id].n > 0 && c->values[id].source != SOURCE_DEFAULT;
}

bool options_flag(const struct options *c, enum option_id id)
{
    return c->values[id].n > 0;
}

const char *options_text(const struct options *c, enum option_id id)
{
    const struct option_value *v = &c->values[id];

    return v->n ? v->texts[v->n - 1] : NULL;
}

double options_real(const struct options *c, enum option_id id)
{
    const char *text = options_text(c, id);

    return text ? strtod(text, NULL) : NAN; /* checked when it was set */
}

int64_t options_int(const struct options *c, enum option_id id)
{
    const char *text = options_text(c, id);

    return text ? strtoll(text, NULL, 10) : 0;
}

static bool is_number(const char *text)
{
    char *end;

    strtod(text, &end);
    return end != text && !*end;
}

void options_put_json(const struct options *c, struct buf *ret)
{
    const char *sep = "{";

    for (int i = 0; i < N_OPTIONS; i++) {
        const struct option_def *d = &option_table[i];
        const struct option_value *v = &c->values[i];

        if (!v->n || i == OPT_HELP)
            continue;
        buf_puts(ret, sep);
        sep = ",";
        json_put_str(ret, d->name, strlen(d->name));
        buf_puts(ret, ":{\"value\":");
        if (d->kind == OPTION_LIST)
            buf_putc(ret, '[');
        for (size_t j = 0; j < v->n; j++) {
            if (j)
                buf_putc(ret, ',');
            if (d->kind == OPTION_FLAG)
                buf_puts(ret, "true");
            else if (d->is_axis && !is_number(v->texts[j])) /* a list */
                json_put_str(ret, v->texts[j], strlen(v->texts[j]));
            else if (d->kind == OPTION_INT)
                buf_printf(ret, "%lld", strtoll(v->texts[j], NULL, 10));
            else if (d->kind == OPTION_REAL)
                json_put_num(ret, strtod(v->texts[j], NULL));
            else
                json_put_str(ret, v->texts[j], strlen(v->texts[j]));
        }
        if (d->kind == OPTION_LIST)
            buf_putc(ret, ']');
        buf_printf(ret, ",\"source\":\"%s\"", source_names[v->source]);
        if (v->origin) {
            buf_puts(ret, ",\"origin\":");
            json_put_str(ret, v->origin, strlen(v->origin));
        }
        buf_putc(ret, '}');
    }
    buf_puts(ret, *sep == '{' ? "{}" : "}");
}

void options_put_text(const struct options *c, struct buf *ret)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        const struct option_value *v = &c->values[i];

        if (i == OPT_HELP || !(option_table[i].verbs & c->verb))
            continue;
        buf_printf(ret, "%-14s = ", option_table[i].name);
        for (size_t j = 0; j < v->n; j++)
            buf_printf(ret, "%s%s", j ? " " : "", v->texts[j]);
        if (!v->n && option_table[i].shown)
            buf_printf(ret, "(%s)", option_table[i].shown);
        else if (!v->n && option_table[i].kind == OPTION_FLAG)
            buf_puts(ret, "false");
        buf_printf(ret, "  # %s\n", v->origin ? v->origin : source_names[v->source]);
    }
}

/* Append text wrapped at 100 columns, continuation lines indented. */
static void put_wrapped(struct buf *ret, const char *text, size_t column, size_t indent)
{
    while (*text) {
        size_t len = strcspn(text, " ");

        if (column + len + 1 > 100 && column > indent) {
            buf_putc(ret, '\n');
            for (column = 0; column < indent; column++)
                buf_putc(ret, ' ');
        } else if (column > indent) {
            buf_putc(ret, ' ');
            column++;
        }
        buf_append(ret, text, len);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
    buf_putc(ret, '\n');
}

void options_put_help(unsigned verb, struct buf *ret)
{
    static const char *const groups[] = { ASK,    MODEL, DECODE, JUDGE, DECIDE,
                                          COMPAT, FETCH, OUT,    TALK };
    struct buf text = { 0 };

    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
        bool is_open = false;

        for (int i = 0; i < N_OPTIONS; i++) {
            const struct option_def *d = &option_table[i];
            size_t start, column;

            if (!(d->verbs & verb) || strcmp(d->group, groups[g]) != 0)
                continue;
            if (!is_open)
                buf_printf(ret, "\n%s:\n", groups[g]);
            is_open = true;
            start = ret->len;
            if (d->letter)
                buf_printf(ret, "  -%c, --%s", d->letter, d->name);
            else
                buf_printf(ret, "      --%s", d->name);
            if (d->metavar)
                buf_printf(ret, " %s", d->metavar);
            column = ret->len - start;
            do
                buf_putc(ret, ' ');
            while (++column < 30);
            buf_clear(&text);
            buf_puts(&text, d->help);
            if (d->choices)
                buf_printf(&text, " (%s)", d->choices);
            if (d->deflt || d->shown)
                buf_printf(&text, " [%s]", d->deflt ? d->deflt : d->shown);
            put_wrapped(ret, buf_str(&text), column, 30);
        }
    }
    buf_release(&text);
}
