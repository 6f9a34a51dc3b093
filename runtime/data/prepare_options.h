/* Preprocessing as data: presets, settings by name, and a canonical text.
 *
 * A model's file has the settings in its argument `prepare`; they reach the runtime as settings of
 * the plan: "prepare.spacing" = "[1.5, 0.75, 0.75]". Values are written as the model language
 * prints them; numbers of a list may also be parted by colons or x: "1.5:0.75", "64x128x128".
 */
#ifndef TRICOT_RUNTIME_DATA_PREPARE_OPTIONS_H
#define TRICOT_RUNTIME_DATA_PREPARE_OPTIONS_H
#include "runtime/data/prepare.h"
#include "runtime/plan.h"

enum { PREPARE_TEXT_ROOM = 512 };

/* The preset "dcformer": 256x512x512 voxels of 1.5 x 0.75 x 0.75 mm; clip to -1000..1000, resize,
 * window -1000..200; padding -1; rescaled by metadata. */
PrepareOptions prepare_defaults(void);
/* "dcformer"; "ct-clip": 240x480x480, resize, then the one window -1000..1000. */
bool prepare_preset(const char *name, PrepareOptions *options, Error *error);
/* Sets one option: size, order, clip, window, spacing, spacing_from, padding, rescale, orientation,
 * gate. The value "none" leaves it. The error names key and value. */
bool prepare_set(PrepareOptions *options, const char *key, const char *value, Error *error);
/* All settings called "prepare.KEY" on top of their preset; the size stays. Checked. */
bool prepare_settings(const PlanPair *settings, int count, PrepareOptions *options, Error *error);
bool prepare_options_check(const PrepareOptions *options, Error *error);

/* The options in words, equal exactly when the prepared voxels are (the gate is left out): kept
 * beside cached volumes and with the weights of a training. out[PREPARE_TEXT_ROOM]. */
void prepare_options_text(const PrepareOptions *options, char *out);
/* The text's options; fails on anything prepare_options_text() does not write. */
bool prepare_options_parse(const char *text, PrepareOptions *options, Error *error);
#endif
