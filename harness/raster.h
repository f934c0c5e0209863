/*
 * Drawings as pixels: rsvg-convert, of librsvg, run as a tool where it is installed.
 */
#ifndef HARNESS_RASTER_H
#define HARNESS_RASTER_H

#include "base/arena.h"
#include "base/status.h"

/* Where the tool is, by PATH; NULL: nowhere. In the arena. ST_NOMEM. */
MUST_CHECK enum status raster_find(struct arena *a, const char **ret, struct error *err);

/* Make a PNG of an SVG file, whole or not at all. ST_IO: the tool could not be run, or failed. */
MUST_CHECK enum status raster_convert(const char *tool, const char *svg, const char *png,
                                      struct error *err);

#endif
