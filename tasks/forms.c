/*
 * The table of prompt forms. Wording and stops are those of the harness named in each row, byte
 * for byte, as scores under other wordings differ by several points; docs/grading.md spells every
 * form out.
 */
#include "tasks/forms.h"

#include <string.h>

#define FEWSHOT "fewshot.json"
#define TRAIN "gsm8k_train.jsonl"

/* ---- where answers end ------------------------------------------------------------------ */

/* lm-eval's humaneval.yaml. */
#define STOPS_PYTHON "\nclass", "\ndef", "\n#", "\nif", "\nprint"
static const char *const stops_python[] = { STOPS_PYTHON, NULL };
/* The same for humaneval_instruct, which also drops what follows the first fence. */
static const char *const stops_python_fence[] = { STOPS_PYTHON, "```", NULL };
/* bigcode-evaluation-harness, humaneval.py and mbpp.py. */
static const char *const stops_bigcode[] = { "\nclass", "\ndef", "\n#",        "\n@", "\nprint",
                                             "\nif",    "\n```", "<file_sep>", NULL };
static const char *const stops_bigcode_mbpp[] = { "\nclass", "\nassert", "\n\"\"\"", "\nprint",
                                                  "\nif",    "\n<|/",    "\n```",    NULL };
/* CodeEval-Pro's vLLM script, which also drops what follows the first fence. */
static const char *const stops_pro[] = { "<|endoftext|>", "<|endofmask|>", "</s>",
                                         "<|EOT|>",       "```",           NULL };
/* EvalPlus, provider/utility.py, and for chats provider/base.py. */
static const char *const stops_evalplus[] = { "<|endoftext|>", "<|endofmask|>",
                                              "</s>",          "\nif __name__",
                                              "\ndef main(",   "\nprint(",
                                              "\n```\n",       NULL };
/* lm-eval's mbpp.yaml, OpenCompass for base models. */
static const char *const stops_done[] = { "[DONE]", NULL };
/* lm-eval's gsm8k.yaml, gsm8k-cot.yaml and gsm8k-cot-zeroshot.yaml, gsm8k-cot-llama.yaml. */
static const char *const stops_question[] = { "Question:", "</s>", "<|im_end|>", NULL };
static const char *const stops_q[] = { "Q:", "</s>", "<|im_end|>", NULL };
static const char *const stops_llama[] = { "<|eot_id|>", "<|start_header_id|>user<|end_header_id|>",
                                           "Q:",         "</s>",
                                           "<|im_end|>", NULL };
/* lm-eval's hendrycks_math500.yaml and minerva_math500.yaml, OpenCompass for base models. */
static const char *const stops_problem[] = { "Problem:", NULL };

/* ---- wordings that several rows share --------------------------------------------------- */

#define PRO_PERSONA                                                                                \
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate "   \
    "and reliable responses to user instructions."
#define PRO_TASK                                                                                   \
    "Write a solution of python file to the following problems, the solution of the second "       \
    "problem requires single or multiple calls to the first solution.\n"
#define PRO_PAIR "```python\n{raw_problem|strip}\n{new_problem|strip}\n"
#define PRO_PREFIX "```python\n{raw_problem|strip}\n"

#define MBPP_EXPERT "You are an expert Python programmer, and here is your task:"
#define MBPP_TASK(text) MBPP_EXPERT " {" text "} Your code should pass these tests:\n\n"
#define MBPP_DINFER(text)                                                                          \
    MBPP_TASK(text)                                                                                \
    "{test_list}\n\nPlease enclose your code within delimiters as follows:\n"                      \
    "```python\n# YOUR CODE HERE\n```\n\n"
#define MBPP_OC(text) MBPP_TASK(text) " {test_list}  \n"
#define MBPP_MDBLOCK MBPP_EXPERT "\n{prompt}\nYour code should pass these tests:\n\n{test_list}\n"
#define MBPP_BEGIN "[BEGIN]\n"
#define MBPP_FENCE "\n```python\n"
#define DEEPSEEK_PROBLEM ">>> Problem:\n{text|strip}\n>>> Test Cases:\n{test_list}\n"

#define GSM8K_OC "Question: {question}\nLet's think step by step\nAnswer:"
#define GSM8K_MOE "Question: {question}\nPlease reason step by step\nAnswer:"

/* ---- the table -------------------------------------------------------------------------- */

/* Rows of a format stand together, its default first. */
static const struct form forms[] = {
    {
        .format = FORMAT_HUMANEVAL,
        .shown = { .name = "chat-oc",
                   .source = "OpenCompass humaneval_gen_8e312c (LLaDA, LLaDA 1.5)",
                   .is_chat = true },
        .item = "Complete the following python code:\n{prompt}",
    },
    {
        .format = FORMAT_HUMANEVAL,
        .shown = { .name = "chat-simple-evals",
                   .source = "simple-evals; OpenCompass's later default",
                   .is_chat = true },
        .item = "Read the following function signature and docstring, and fully implement the "
                "function described. Your response should only contain the code for this "
                "function.\n{prompt}",
    },
    {
        .format = FORMAT_HUMANEVAL,
        .shown = { .name = "chat-lm-eval",
                   .source = "lm-eval humaneval_instruct, version 4",
                   .is_chat = true,
                   .stops = stops_python_fence },
        .item = "Write a solution to the following problem and make sure that it passes the "
                "tests:\n```python\n{prompt}\n```\n",
        .prefix = "Here is the completed function:\n```python\n{prompt}\n",
    },
    {
        .format = FORMAT_HUMANEVAL,
        .shown = { .name = "chat-evalplus",
                   .source = "EvalPlus, models with a chat template",
                   .is_chat = true,
                   .stops = stops_evalplus },
        .item = "Please provide a self-contained Python script that solves the following problem "
                "in a markdown code block:\n```\n{prompt|strip}\n```\n",
        .prefix = "Below is a Python script with a self-contained function that solves the problem "
                  "and passes corresponding tests:\n```python\n",
    },
    {
        .format = FORMAT_HUMANEVAL,
        .shown = { .name = "complete",
                   .source = "lm-eval humaneval; OpenCompass for base models",
                   .stops = stops_python },
        .item = "{prompt}",
    },
    {
        .format = FORMAT_HUMANEVAL,
        .shown = { .name = "complete-bigcode",
                   .source = "bigcode-evaluation-harness humaneval",
                   .stops = stops_bigcode },
        .item = "{prompt|strip}",
    },
    {
        .format = FORMAT_HUMANEVAL,
        .shown = { .name = "complete-bigcode-unstripped",
                   .source = "bigcode-evaluation-harness humaneval-unstripped",
                   .stops = stops_bigcode },
        .item = "{prompt}",
    },
    {
        .format = FORMAT_HUMANEVAL,
        .shown = { .name = "complete-codeeval-pro",
                   .source = "CodeEval-Pro, vLLM script, humaneval",
                   .stops = stops_pro },
        .item = PRO_PERSONA "\n@@ Instruction\nWrite a solution to the following problem:\n"
                            "```python\n{prompt|strip}\n```\n\n@@ Response\n",
        .prefix = "```python\n{prompt|strip}",
    },

    {
        .format = FORMAT_HUMANEVAL_PRO,
        .shown = { .name = "chat-oc",
                   .source = "OpenCompass humaneval_pro_gen_3dc067",
                   .is_chat = true },
        .item = PRO_PERSONA "\n" PRO_TASK "```python\n{raw_problem}\n{new_problem}\n```\n"
                            "Please put the two solutions within the Python code block provided "
                            "below, and make sure that the block contains no other unrelated "
                            "content:\n```python\n```\n",
    },
    {
        .format = FORMAT_HUMANEVAL_PRO,
        .shown = { .name = "chat-codeeval-pro",
                   .source = "CodeEval-Pro, API script, humaneval_pro",
                   .is_chat = true },
        .system = PRO_PERSONA,
        .item = "\n@@ Instruction\n" PRO_TASK PRO_PAIR "```\n@@ Response\n",
    },
    {
        .format = FORMAT_HUMANEVAL_PRO,
        .shown = { .name = "complete",
                   .source = "CodeEval-Pro, vLLM script, humaneval_pro",
                   .stops = stops_pro },
        .item = PRO_PERSONA "\n@@ Instruction\n" PRO_TASK PRO_PAIR "```\n\n@@ Response\n",
        .prefix = PRO_PREFIX,
    },
    {
        .format = FORMAT_HUMANEVAL_PRO,
        .shown = { .name = "complete-cot",
                   .source = "CodeEval-Pro, vLLM script, humaneval_pro_cot",
                   .stops = stops_pro },
        .item = PRO_PERSONA "\n@@ Instruction\n" PRO_TASK PRO_PAIR
                            "```\n\n@@ Response\nLet's think step by step.\n",
        .prefix = PRO_PREFIX,
    },
    {
        .format = FORMAT_HUMANEVAL_PRO,
        .shown = { .name = "complete-1shot",
                   .source = "CodeEval-Pro, vLLM script, humaneval_pro_1shot: with a test's line",
                   .stops = stops_pro },
        .item = PRO_PERSONA "\n@@ Instruction\n" PRO_TASK PRO_PAIR
                            "\n{test_code|second}\n```\n\n@@ Response\n",
        .prefix = PRO_PREFIX,
    },

    {
        .format = FORMAT_MBPP,
        .shown = { .name = "chat-oc-3shot",
                   .source = "OpenCompass mbpp_gen_830460 (LLaDA, LLaDA 1.5)",
                   .is_chat = true,
                   .n_shots = 3,
                   .needs = FEWSHOT },
        .examples = EXAMPLES_FEWSHOT,
        .key = "mbpp_opencompass_3shot",
        .question = "{human}",
        .answer = "{bot}",
        .item = MBPP_OC("text"),
    },
    {
        .format = FORMAT_MBPP,
        .shown = { .name = "chat-dinfer",
                   .source = "dInfer's sanitized form, with the full set's text",
                   .is_chat = true },
        .item = MBPP_DINFER("text"),
    },
    {
        .format = FORMAT_MBPP,
        .shown = { .name = "chat-lm-eval-3shot",
                   .source = "lm-eval mbpp_instruct, examples as turns",
                   .is_chat = true,
                   .n_shots = 3 },
        .examples = EXAMPLES_RECORDS,
        .item = MBPP_EXPERT "\n{text}\nYour code should pass these tests:\n{test_list|first3}",
        .answer = MBPP_FENCE "{code}\n```",
        .prefix = MBPP_FENCE,
    },
    {
        .format = FORMAT_MBPP,
        .shown = { .name = "chat-deepseek-3shot",
                   .source = "DeepSeek-Coder eval_instruct.py, examples in the one turn",
                   .is_chat = true,
                   .n_shots = 3 },
        .examples = EXAMPLES_RECORDS,
        .is_one_text = true,
        .intro = "Please refer the given examples and generate a python function for my problem.\n"
                 "Examples are listed as follows:\n",
        .question = "- Example {#}:\n" DEEPSEEK_PROBLEM,
        .answer = "\n>>> Code:\n```python\n{code|lf}\n```\n\n",
        .item = "Here is my problem:\n" DEEPSEEK_PROBLEM,
    },
    {
        .format = FORMAT_MBPP,
        .shown = { .name = "complete-oc-3shot",
                   .source = "OpenCompass mbpp_gen_830460 for base models",
                   .n_shots = 3,
                   .needs = FEWSHOT,
                   .stops = stops_done },
        .examples = EXAMPLES_FEWSHOT,
        .key = "mbpp_opencompass_3shot",
        .is_one_text = true,
        .question = "{human}\n",
        .answer = "{bot}\n",
        .item = MBPP_OC("text") "\n",
        .prefix = MBPP_BEGIN,
    },
    {
        .format = FORMAT_MBPP,
        .shown = { .name = "complete-lm-eval-3shot",
                   .source = "lm-eval mbpp (Austin et al.)",
                   .n_shots = 3,
                   .stops = stops_done },
        .examples = EXAMPLES_RECORDS,
        .is_one_text = true,
        .item = MBPP_TASK("text") "{test_list|first3}\n",
        .answer = MBPP_BEGIN "{code}\n[DONE]\n\n",
        .prefix = MBPP_BEGIN,
    },
    {
        .format = FORMAT_MBPP,
        .shown = { .name = "complete-bigcode",
                   .source = "bigcode-evaluation-harness mbpp",
                   .stops = stops_bigcode_mbpp },
        .item = "",
        .prefix = "\"\"\"\n{text}\n{test_list|first}\n\"\"\"\n",
        .is_prefix_code = true,
    },

    {
        .format = FORMAT_MBPP_SANITIZED,
        .shown = { .name = "chat-dinfer",
                   .source = "dInfer mbpp_sanitized (LLaDA2, LLaDA-MoE)",
                   .is_chat = true },
        .item = MBPP_DINFER("prompt"),
    },
    {
        .format = FORMAT_MBPP_SANITIZED,
        .shown = { .name = "chat-oc-3shot",
                   .source = "OpenCompass sanitized_mbpp_gen_830460",
                   .is_chat = true,
                   .n_shots = 3,
                   .needs = FEWSHOT },
        .examples = EXAMPLES_FEWSHOT,
        .key = "mbpp_opencompass_3shot",
        .question = "{human}",
        .answer = "{bot}",
        .item = MBPP_OC("prompt"),
    },
    {
        .format = FORMAT_MBPP_SANITIZED,
        .shown = { .name = "chat-mdblock-3shot",
                   .source = "OpenCompass sanitized_mbpp_mdblock_gen_a447ff",
                   .is_chat = true,
                   .n_shots = 3,
                   .needs = FEWSHOT },
        .examples = EXAMPLES_FEWSHOT,
        .key = "mbpp_opencompass_mdblock_3shot",
        .question = "{human}",
        .answer = "{bot}",
        .item = MBPP_MDBLOCK,
    },
    {
        .format = FORMAT_MBPP_SANITIZED,
        .shown = { .name = "chat-mdblock-0shot",
                   .source = "OpenCompass sanitized_mbpp_mdblock_0shot_nocot_gen_a2e416",
                   .is_chat = true },
        .item = MBPP_MDBLOCK " You should submit your final solution in the following format: "
                             "```python\n\n```",
    },
    {
        .format = FORMAT_MBPP_SANITIZED,
        .shown = { .name = "complete-oc-3shot",
                   .source = "OpenCompass sanitized_mbpp_gen_830460 for base models",
                   .n_shots = 3,
                   .needs = FEWSHOT,
                   .stops = stops_done },
        .examples = EXAMPLES_FEWSHOT,
        .key = "mbpp_opencompass_3shot",
        .is_one_text = true,
        .question = "{human}\n",
        .answer = "{bot}\n",
        .item = MBPP_OC("prompt") "\n",
        .prefix = MBPP_BEGIN,
    },

    {
        .format = FORMAT_GSM8K,
        .shown = { .name = "chat-oc-4shot",
                   .source = "OpenCompass gsm8k_gen_1d7fe4 (LLaDA, LLaDA 1.5)",
                   .is_chat = true,
                   .n_shots = 4,
                   .needs = FEWSHOT },
        .examples = EXAMPLES_FEWSHOT,
        .key = "gsm8k_opencompass_4shot",
        .question = "{human}",
        .answer = "{bot}",
        .item = GSM8K_OC,
    },
    {
        .format = FORMAT_GSM8K,
        .shown = { .name = "chat-oc-0shot",
                   .source = "chat-oc-4shot without its examples; nobody's published form",
                   .is_chat = true },
        .item = GSM8K_OC,
    },
    {
        .format = FORMAT_GSM8K,
        .shown = { .name = "chat-dinfer-moe-4shot",
                   .source = "dInfer gsm8k_llada_moe, examples as turns (newer lm-eval)",
                   .is_chat = true,
                   .n_shots = 4,
                   .needs = FEWSHOT },
        .examples = EXAMPLES_FEWSHOT,
        .key = "gsm8k_dinfer_4shot",
        .answer = "{answer}",
        .item = GSM8K_MOE,
    },
    {
        .format = FORMAT_GSM8K,
        .shown = { .name = "chat-dinfer-moe-4shot-1turn",
                   .source = "dInfer gsm8k_llada_moe, all in one turn (older lm-eval)",
                   .is_chat = true,
                   .n_shots = 4,
                   .needs = FEWSHOT },
        .examples = EXAMPLES_FEWSHOT,
        .key = "gsm8k_dinfer_4shot",
        .is_one_text = true,
        .answer = " {answer}\n\n",
        .item = GSM8K_MOE,
    },
    {
        .format = FORMAT_GSM8K,
        .shown = { .name = "chat-dinfer-llada-4shot",
                   .source = "dInfer gsm8k_llada (LLaDA 1.5), examples as turns (newer lm-eval)",
                   .is_chat = true,
                   .n_shots = 4,
                   .needs = FEWSHOT },
        .examples = EXAMPLES_FEWSHOT,
        .key = "gsm8k_dinfer_4shot",
        .answer = "{answer}",
        .item = GSM8K_OC,
    },
    {
        .format = FORMAT_GSM8K,
        .shown = { .name = "chat-dinfer-llada-4shot-1turn",
                   .source = "dInfer gsm8k_llada (LLaDA 1.5), all in one turn (older lm-eval)",
                   .is_chat = true,
                   .n_shots = 4,
                   .needs = FEWSHOT },
        .examples = EXAMPLES_FEWSHOT,
        .key = "gsm8k_dinfer_4shot",
        .is_one_text = true,
        .answer = " {answer}\n\n",
        .item = GSM8K_OC,
    },
    {
        .format = FORMAT_GSM8K,
        .shown = { .name = "chat-cot-llama-8shot",
                   .source = "lm-eval gsm8k_cot_llama, examples as turns",
                   .is_chat = true,
                   .n_shots = 8,
                   .needs = FEWSHOT,
                   .stops = stops_llama },
        .examples = EXAMPLES_FEWSHOT,
        .key = "gsm8k_cot_lm_eval_8shot",
        .item = "Given the following problem, reason and give a final answer to the problem.\n"
                "Problem: {question}\nYour response should end with \"The final answer is "
                "[answer]\" where [answer] is the response to the problem.\n",
        .answer = "{target|final}",
    },
    {
        .format = FORMAT_GSM8K,
        .shown = { .name = "complete-lm-eval-5shot",
                   .source = "lm-eval gsm8k, with the first five training items (lm-eval draws)",
                   .n_shots = 5,
                   .needs = TRAIN,
                   .stops = stops_question },
        .examples = EXAMPLES_TRAIN,
        .is_one_text = true,
        .item = "Question: {question}\nAnswer:",
        .answer = " {answer}\n\n",
    },
    {
        .format = FORMAT_GSM8K,
        .shown = { .name = "complete-cot-8shot",
                   .source = "lm-eval gsm8k_cot (Wei et al.)",
                   .n_shots = 8,
                   .needs = FEWSHOT,
                   .stops = stops_q },
        .examples = EXAMPLES_FEWSHOT,
        .key = "gsm8k_cot_lm_eval_8shot",
        .is_one_text = true,
        .item = "Q: {question}\nA:",
        .answer = " {target}\n\n",
    },
    {
        .format = FORMAT_GSM8K,
        .shown = { .name = "complete-cot-0shot",
                   .source = "lm-eval gsm8k_cot_zeroshot",
                   .stops = stops_q },
        .item = "Q: {question}\nA: Let's think step by step.",
    },

    {
        .format = FORMAT_MATH,
        .shown = { .name = "chat-boxed",
                   .source = "OpenCompass math_0shot_gen_11c4b5, math_500_gen (LLaDA)",
                   .is_chat = true },
        .item = "{problem}\nPlease reason step by step, and put your final answer within "
                "\\boxed{}.",
    },
    {
        .format = FORMAT_MATH,
        .shown = { .name = "chat-simple-evals", .source = "simple-evals math", .is_chat = true },
        .item = "Solve the following math problem step by step. The last line of your response "
                "should be of the form Answer: $ANSWER (without quotes) where $ANSWER is the "
                "answer to the problem.\n\n{problem}\n\nRemember to put your answer on its own "
                "line after \"Answer:\", and you do not need to use a \\boxed command.",
    },
    {
        .format = FORMAT_MATH,
        .shown = { .name = "complete-minerva-4shot",
                   .source = "lm-eval minerva_math500 (Lewkowycz et al.)",
                   .n_shots = 4,
                   .needs = FEWSHOT,
                   .stops = stops_problem },
        .examples = EXAMPLES_FEWSHOT,
        .key = "minerva_math_lm_eval_4shot",
        .is_one_text = true,
        .item = "Problem:\n{problem}\n\nSolution:",
        .answer = " {solution}\n\n",
    },
    {
        .format = FORMAT_MATH,
        .shown = { .name = "complete-oc-4shot",
                   .source = "OpenCompass math_gen_a58d9d for base models (LLaDA-8B-Base)",
                   .n_shots = 4,
                   .needs = FEWSHOT,
                   .stops = stops_problem },
        .examples = EXAMPLES_FEWSHOT,
        .key = "math_opencompass_4shot",
        .is_one_text = true,
        .question = "{human}\n",
        .answer = "{bot}\n",
        .item = "Problem:\n{problem}\nSolution:\n",
    },
    {
        .format = FORMAT_MATH,
        .shown = { .name = "complete",
                   .source = "lm-eval hendrycks_math500",
                   .stops = stops_problem },
        .item = "Problem: {problem}\nAnswer:",
    },
};

enum { N_FORMS = sizeof(forms) / sizeof(forms[0]) };

/* Examples are no part of the program, so bundled tasks have no form that needs any. */
static bool belongs(const struct form *f, const struct task_def *def)
{
    return (int)f->format == def->format && (!def->is_bundled || f->examples == EXAMPLES_NONE);
}

const struct task_form *task_form_get(const struct task_def *def, size_t i)
{
    for (size_t k = 0; k < N_FORMS; k++)
        if (belongs(&forms[k], def) && i-- == 0)
            return &forms[k].shown;
    return NULL;
}

const struct form *form_find(const struct task_def *def, const char *name)
{
    for (size_t k = 0; k < N_FORMS; k++)
        if (belongs(&forms[k], def) && strcmp(forms[k].shown.name, name) == 0)
            return &forms[k];
    return NULL;
}

const struct task_form *task_form_find(const struct task_def *def, const char *name)
{
    const struct form *f = form_find(def, name);

    return f ? &f->shown : NULL;
}
