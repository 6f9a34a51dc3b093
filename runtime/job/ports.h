/* Between tensors of files and the ports of an entry point: shapes and types checked with words
 * that name both sides, numbers converted, ids kept inside the vocabulary.
 */
#ifndef TRICOT_RUNTIME_JOB_PORTS_H
#define TRICOT_RUNTIME_JOB_PORTS_H
#include "runtime/job/job.h"

/* Does the port hold samples along its first dimension? (Scalars such as lr do not.) */
bool port_has_samples(const PlanPort *port);

/* Do all inputs (but perhaps `lr`) have tensors of exactly their shapes? */
bool ports_exact(const Job *job, int entry, const TensorFile *file);
/* Samples in the inputs for an entry: the common first dimension of all tensors that its ports with
 * samples take. Every shape is checked but for that dimension. An input without a tensor is an
 * error, except `lr`. */
bool ports_check(const Job *job, int entry, const TensorFile *file, const char *path,
                 int64_t *samples, Error *error);
/* Fills every input that has a tensor. Row q of a port gets sample (first + q) mod samples; with
 * samples 0 the tensors have exactly the inputs' shapes. */
void ports_fill(Job *job, int entry, const TensorFile *file, int64_t first, int64_t samples);
/* Fills one input with a scalar; nothing happens when the entry has none of that name. */
void port_set(Job *job, int entry, const char *name, double value);
/* Before anything runs: ids of all samples against the model's vocabulary, masks against 0 and 1,
 * positions and starts of packed texts against what they index. */
bool ports_check_ids(const Job *job, int entry, const TensorFile *file, const char *path,
                     Error *error);
/* The same for ids that were just written to an input. */
bool port_check_ids(const Job *job, const char *name, const Type *type, const void *data,
                    const char *where, Error *error);
/* How many values whole numbers of the input of this name may have, from 0; 0: no limit known. */
int64_t port_limit(const Job *job, const char *name);
/* The vocabulary the model was compiled for, 0 when it does not say. */
int64_t job_vocabulary(const Job *job);
#endif
