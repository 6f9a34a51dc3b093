/* The kernel interpreter: copies that go on beside the thread that started them. See kernel.h.
 *
 * A copy is done as late as the rules allow, at the wait that says it has arrived; from its start
 * until then its cells count as never written. For the rules of barriers its start writes the
 * cells, and so does the wait.
 */
#include "ir/kernel_machine.h"
#include <math.h>

static bool is_place(Machine *m, const Stmt *s, int thread, const Buffer *buffer, int64_t at) {
  int64_t cells = type_elements(&buffer->type);
  return (at % s->count == 0 && at >= 0 && at + s->count <= cells) ||
         machine_fail(m, s, thread, "no %d elements begin at %lld of %%%s, which has %lld",
                      s->count, (long long)at, buffer->name, (long long)cells);
}

bool machine_copy(Machine *m, const Stmt *s, int thread) {
  Copies *copies = &m->copies[thread];
  Copying copy = {.stmt = s,
                  .to = machine_affine(m, thread, &s->at),
                  .from = machine_affine(m, thread, &s->from),
                  .zeros = !machine_guards_hold(m, thread, &s->guards),
                  .group = copies->groups + 1};
  if (!is_place(m, s, thread, s->buffer, copy.to) ||
      (!copy.zeros && !is_place(m, s, thread, s->base, copy.from)))
    return false;
  Scalar none = {.i = 0};
  for (int i = 0; i < s->count; i++) {
    if (!machine_write(m, s, thread, s->buffer, copy.to + i, none))
      return false;
    m->stores[s->buffer->id].write[copy.to + i] = 0;
  }
  vec_push(m->arena, &copies->open, copy);
  return true;
}

static bool arrive(Machine *m, int thread, const Copying *copy) {
  const Stmt *s = copy->stmt;
  for (int i = 0; i < s->count; i++) {
    Scalar cell = machine_number(s->buffer->type.dtype, 0);
    if (!copy->zeros && !machine_read(m, s, thread, s->base, copy->from + i, &cell))
      return false;
    if (!machine_write(m, s, thread, s->buffer, copy->to + i, cell))
      return false;
  }
  return true;
}

bool machine_wait(Machine *m, const Stmt *s, int thread) {
  Copies *copies = &m->copies[thread];
  int kept = 0;
  for (int i = 0; i < copies->open.count; i++) {
    Copying copy = copies->open.at[i];
    if (copy.group > copies->groups - s->count)
      copies->open.at[kept++] = copy;
    else if (!arrive(m, thread, &copy))
      return false;
  }
  copies->open.count = kept;
  for (int i = 0; i < kept; i++)
    for (int b = 0; b < s->arrived.count; b++)
      if (copies->open.at[i].stmt->buffer == s->arrived.at[b])
        return machine_fail(m, s, thread, "a copy into %%%s is still open", s->arrived.at[b]->name);
  return true;
}

bool machine_end_copies(Machine *m) {
  for (int t = 0; t < m->threads; t++) {
    if (m->copies[t].open.count)
      return machine_fail(m, m->copies[t].open.at[0].stmt, t, "nobody waits for this copy");
    m->copies[t].groups = 0;
  }
  return true;
}
