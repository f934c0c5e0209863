/* What the formats of code have in common: which part of a generation is the code. */
#ifndef TASKS_CODE_H
#define TASKS_CODE_H

#include "tasks/fence.h"
#include "tasks/internal.h"
#include "tasks/text.h"

/* First block that is Python, or is not, and defines the function (name NULL: any). NULL if there
 * is none. */
const struct block *code_find_block(const struct blocks *b, bool is_python, const char *name);

/*
 * Does the text go on inside a function: is its first line of code indented by at least four
 * spaces or a tab? Completions of a prompt that ends in a signature do.
 */
bool code_starts_as_body(struct span text);

/*
 * The text before the first fence, if that fence closes a block that the prompt opened: it has no
 * tag, and the text before it defines the function. False if not.
 */
bool code_find_open_end(struct span text, const struct blocks *b, const char *name,
                        struct span *ret);

/* Code without fences: from the first line of code on, without the prose behind it; false if no
 * line starts code. */
bool code_find_plain(struct span text, struct span *ret);

/* A completion up to where it stops being the function's body: lm-eval's stops, a fence, a
 * decorator, a test. */
struct span code_cut_body(struct span text);

/*
 * Rule of HumanEval (docs/grading.md, "HumanEval"), which HumanEval Pro shares where no block
 * defines the function under test.
 * *ret lies in the text or the arena.
 */
MUST_CHECK enum status code_extract_function(struct span text, const char *name,
                                             struct arena *arena, struct span *ret,
                                             const char **ret_method, struct error *err);

#endif
