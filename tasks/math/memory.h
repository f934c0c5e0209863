/* Memory of GMP, whose own functions end the process when there is none. Private to the folder. */
#ifndef TASKS_MATH_MEMORY_H
#define TASKS_MATH_MEMORY_H

#include <stdbool.h>

#include "base/status.h"

/*
 * f(arg), which may use GMP and releases all numbers that it made. False: memory ran out in GMP;
 * its numbers are freed, and f did not return.
 */
MUST_CHECK bool gmp_run(void (*f)(void *arg), void *arg);

#endif
