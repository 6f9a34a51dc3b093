/* What a CUDA device can do: copies within its memory, and kernels that do nothing but multiply,
 * timed by events. See program_cuda_private.h and peak.h.
 */
#include "runtime/cuda/peak.h"
#include "runtime/cuda/program_cuda_private.h"

enum { ROUNDS = 8, BLOCKS_EACH = 8 }; /* blocks: of a multiprocessor */
static const double LEAST_SECONDS = 1e-3;
static const int64_t MOST_BYTES = (int64_t)512 << 20; /* far more than any L2 */

typedef struct Measuring {
  Program *program;
  const Cuda *cuda;
  const CudaDriver *driver;
  CudaEvent events[2];
  CudaAddress at; /* of fresh memory */
  size_t bytes;
} Measuring;

/* Begins to time what is put into the stream; a result of the driver. */
static int start(const Measuring *m) {
  return m->driver->event_record(m->events[0], m->cuda->stream, 0);
}

static int stop(const Measuring *m, double *seconds) {
  float milliseconds = 0;
  int result = m->driver->event_record(m->events[1], m->cuda->stream, 0);
  if (!result)
    result = m->driver->stream_synchronize(m->cuda->stream);
  if (!result)
    result = m->driver->event_elapsed(&milliseconds, m->events[0], m->events[1]);
  *seconds = 1e-3 * (double)milliseconds;
  return result;
}

static void keep_best(double *rate, double amount, double seconds) {
  if (seconds > 0 && amount / seconds > *rate)
    *rate = amount / seconds;
}

static int time_copies(const Measuring *m, double *rate) {
  size_t half = m->bytes / 2 / 256 * 256;
  int result = 0;
  for (int round = -1; round < ROUNDS && !result; round++) { /* the first does not count */
    double seconds;
    result = start(m);
    if (!result)
      result = m->driver->copy_on_device(m->at + half, m->at, half, m->cuda->stream);
    if (!result)
      result = stop(m, &seconds);
    if (round >= 0 && !result)
      keep_best(rate, 2 * (double)half, seconds);
  }
  return result;
}

/* One launch of so many rounds. */
static int launch_peak(const Measuring *m, CudaFunction function, int blocks, int rounds,
                       double *seconds) {
  CudaAddress counter = m->at, sums = m->at + 256;
  void *arguments[] = {&counter, &sums};
  int result = m->driver->copy_to_device(counter, &rounds, sizeof rounds, m->cuda->stream);
  if (!result)
    result = start(m);
  if (!result)
    result = m->driver->launch(function, (unsigned)blocks, 1, 1, PEAK_THREADS, 1, 1, 0,
                               m->cuda->stream, arguments, NULL);
  return result ? result : stop(m, seconds);
}

/* Rounds are doubled until a launch takes long enough to be timed. */
static int time_peak(const Measuring *m, const char *name, double flops, double *rate) {
  CudaFunction function;
  int blocks = m->cuda->device->multiprocessors * BLOCKS_EACH, result = 0, rounds = 1;
  double seconds = 0;
  if (m->bytes < 256 + sizeof(float) * PEAK_BLOCKS * PEAK_THREADS ||
      m->driver->module_function(&function, m->cuda->module, name) != 0)
    return 0; /* an image without it */
  blocks = blocks < PEAK_BLOCKS ? blocks : PEAK_BLOCKS;
  for (; !result && rounds < PEAK_MOST_ROUNDS; rounds *= 2) {
    result = launch_peak(m, function, blocks, rounds, &seconds);
    if (seconds >= LEAST_SECONDS)
      break;
  }
  for (int round = 0; round < ROUNDS && !result; round++) {
    result = launch_peak(m, function, blocks, rounds, &seconds);
    if (!result)
      keep_best(rate, flops * rounds * blocks * PEAK_THREADS, seconds);
  }
  return result;
}

static int measure_all(Measuring *m) {
  ProgramDevice *device = &m->program->device;
  int result = time_copies(m, &device->copied);
  if (!result)
    result = time_peak(m, PEAK_FMA, PEAK_FMA_FLOPS, &device->fused);
  if (!result)
    result = time_peak(m, PEAK_MMA, PEAK_MMA_FLOPS, &device->matrix);
  return result;
}

bool cuda_measure(Program *program, Error *error) {
  const Cuda *cuda = program->own;
  const CudaDriver *driver = cuda->driver;
  Measuring m = {.program = program, .cuda = cuda, .driver = driver};
  int64_t left;
  if (!cuda_device_free(cuda->device, &left, error))
    return false;
  m.bytes = (size_t)(left / 4 < MOST_BYTES ? left / 4 : MOST_BYTES);
  if (m.bytes < 1024 || driver->memory_alloc(&m.at, m.bytes) != 0)
    return true; /* a device that is full is not measured */
  int result = 0;
  for (int i = 0; i < 2 && !result; i++)
    result = driver->event_create(&m.events[i], 0);
  if (!result)
    result = measure_all(&m);
  for (int i = 0; i < 2; i++)
    if (m.events[i])
      driver->event_destroy(m.events[i]);
  driver->memory_free(m.at);
  return cuda_good(driver, result, "measuring the device", error);
}
