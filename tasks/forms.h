/*
 * A prompt form as a row of one table (forms.c): whose wording it is, the templates, and the
 * worked examples that come before the item.
 *
 * A template is text with fields of a record in braces: {prompt}. A list of strings is joined by
 * newlines. {field|filter} is the field
 *
 *   strip     without the white space around
 *   lf        without carriage returns
 *   second    of it the second line
 *   first     of a list the first string
 *   first3    of a list the first three, joined by newlines
 *   final     with "The answer is N." at its end turned into "The final answer is N"
 *
 * and {#} is an example's number, from 1. Braces around anything else are text.
 *
 * What a form asks is put together like this, where each example is a record, too:
 *
 *   turns      [system] (question answer)* item [prefix]     each a turn; prefix is the last one's
 *   one text   intro (question answer)* item [prefix]        a chat has it as the user's one turn,
 *                                                            the prefix as the assistant's
 */
#ifndef TASKS_FORMS_H
#define TASKS_FORMS_H

#include "tasks/internal.h"

/* Where examples come from. */
enum examples {
    EXAMPLES_NONE,
    EXAMPLES_FEWSHOT, /* fewshot.json, `key`: its "turns" as records of {human} and {bot}, or its
                       * "shots" as they are */
    EXAMPLES_RECORDS, /* the data set's own records with task_id 2, 3, ... */
    EXAMPLES_TRAIN    /* the first records of the file of training items */
};

struct form {
    struct task_form shown; /* first: what task_form_get() hands out */
    enum task_format format;

    const char *system;   /* text of the system's turn, or NULL */
    const char *item;     /* template of the item */
    const char *prefix;   /* template of what the answer begins with, or NULL */
    bool is_prefix_code;  /* the answer goes on in code: task_prompt.is_code */
    bool is_one_text;     /* examples and item are one text, else turns of a chat */
    const char *intro;    /* before the examples of one text, or NULL */
    const char *question; /* template of an example's question; NULL: that of the item */
    const char *answer;   /* and of its answer */
    enum examples examples;
    const char *key;
};

/* The form of this name, or NULL. */
const struct form *form_find(const struct task_def *def, const char *name);

/* The number of messages is below this for every form. */
enum { FORM_MESSAGES_MAX = 2 * 8 + 3 };

#endif
