/*
 * Where things lie: the program's own share folder, data sets, models, results.
 */
#ifndef HARNESS_PATHS_H
#define HARNESS_PATHS_H

#include "base/arena.h"
#include "base/status.h"
#include "harness/options.h"
#include "tasks/task.h"

/*
 * The folder that holds models/, plans/ and tasks/ as shipped: the source tree for a program in
 * a build folder (its path is in the file desbench.share beside the executable), else
 * ../share/desbench from the executable. ST_NOT_FOUND names both places.
 */
MUST_CHECK enum status path_share(struct arena *a, const char **ret, struct error *err);

/* The data folder, there or not: --data-dir, or $DESBENCH_DATA, or desbench/data in the user's
 * data folder ($XDG_DATA_HOME, else ~/.local/share). ST_NOT_FOUND if none of them is set. */
MUST_CHECK enum status path_data_dir(const struct options *c, struct arena *a, const char **ret,
                                     struct error *err);

/* Folder of the data file of a task: the bundled samples, or the data folder. ST_NOT_FOUND if that
 * is not there says how to get or name one. */
MUST_CHECK enum status path_task_dir(const struct options *c, const struct task_def *def,
                                     struct arena *a, const char **ret, struct error *err);

/* --model as a folder: a path that exists, or the name of a bundled model or shape. */
MUST_CHECK enum status path_model(const char *name, struct arena *a, const char **ret,
                                  struct error *err);

/* --config as a file: a path that exists, or the name of a bundled plan, with or without .yaml. */
MUST_CHECK enum status path_plan(const char *name, struct arena *a, const char **ret,
                                 struct error *err);

/* --output (of some verbs --results) as the results file; its folder is made when is_made. */
MUST_CHECK enum status path_results(const struct options *c, bool is_made, struct arena *a,
                                    const char **ret, struct error *err);

#endif
