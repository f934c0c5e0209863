/*
 * How other harnesses grade a GSM8K generation: EleutherAI/lm-evaluation-harness@4e7e0d47,
 * lm_eval/tasks/gsm8k/gsm8k.yaml; open-compass/opencompass@a5acc4bb, opencompass/datasets/gsm8k.py.
 * Their results are reported beside ours so that published numbers can be compared.
 */
#ifndef TASKS_GSM8K_RIVALS_H
#define TASKS_GSM8K_RIVALS_H

#include "tasks/text.h"

/*
 * Each says whether the rule's answer equals the gold number (plain digits, maybe with a sign, no
 * commas). The output is as generated; it is cut at end-of-turn tokens and at `Question:`, where
 * those harnesses stop generating or split. Linear time, no memory.
 */

/* lm-eval gsm8k strict-match: first `#### (\-?[0-9\.\,]+)`, compared as a string. */
bool gsm8k_lm_eval_strict(struct span output, const char *gold);

/* lm-eval flexible-extract: last `(-?[$0-9.,]{2,})|(-?[0-9]+)`, compared as a string. */
bool gsm8k_lm_eval_flexible(struct span output, const char *gold);

/* OpenCompass: last `\-?\d+\.\d+|\-?\d+`, equal as a string or within 1e-6. Its `\d` also takes
 * digits of other scripts, which ours does not. */
bool gsm8k_opencompass(struct span output, const char *gold);

#endif
