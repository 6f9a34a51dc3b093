/* The entry points the compiler derives from a model's training entry.
 *
 *   train_step      forward, gradients, clipping, AdamW in one
 *
 * A step over more samples than fit at a time is made of several runs. Its gradient is the mean of
 * its parts', each part contrasted in itself:
 *
 *   train_micro     forward and gradients, accumulated in scratch
 *   train_apply     clipping and AdamW on the accumulated gradients, which become zero
 *
 * or that of the whole, all samples contrasted with each other (passes/graph/accumulate.c):
 *
 *   train_embed     forward in training mode, without any update: the latents alone
 *   train_contrast  all latents to the loss and its gradients by them ("grad.<latents>"); its own
 *                   parameters' gradients are accumulated
 *   train_backward  forward again; gradients from those of the latents, accumulated
 *   train_apply
 *
 * Accumulating entries take the scalar share: what a part counts. Scratch starts as zero.
 */
#ifndef TRICOT_DRIVER_TRAIN_ENTRIES_H
#define TRICOT_DRIVER_TRAIN_ENTRIES_H
#include "frontend/model.h"
#include "passes/pass.h"

bool train_entry_known(const char *name);
/* The graph of one of them; NULL with errors in context->diag or in `error`. */
Graph *train_entry_build(PassContext *context, Model *model, const char *name, bool keep_taps,
                         bool keep_gradients, Error *error);
#endif
