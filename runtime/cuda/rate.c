/* What the memory of a CUDA device can do: copies within it, timed by events. See program_cuda.h.
 */
#include "runtime/cuda/program_cuda_private.h"

enum { ROUNDS = 8 };
static const int64_t MOST_BYTES = (int64_t)512 << 20; /* far more than any L2 */

static bool time_copies(const Cuda *cuda, CudaAddress at, size_t half, const CudaEvent events[2],
                        double *rate, Error *error) {
  const CudaDriver *driver = cuda->driver;
  int result = 0;
  for (int round = -1; round < ROUNDS && !result; round++) { /* the first does not count */
    float milliseconds = 0;
    result = driver->event_record(events[0], cuda->stream, 0);
    if (!result)
      result = driver->copy_on_device(at + half, at, half, cuda->stream);
    if (!result)
      result = driver->event_record(events[1], cuda->stream, 0);
    if (!result)
      result = driver->stream_synchronize(cuda->stream);
    if (!result)
      result = driver->event_elapsed(&milliseconds, events[0], events[1]);
    double now = milliseconds > 0 ? 2e3 * (double)half / (double)milliseconds : 0;
    if (round >= 0 && now > *rate)
      *rate = now;
  }
  return cuda_good(driver, result, "measuring the device", error);
}

bool cuda_measure(Program *program, Error *error) {
  const Cuda *cuda = program->own;
  const CudaDriver *driver = cuda->driver;
  CudaEvent events[2] = {NULL, NULL};
  CudaAddress at = 0;
  int64_t left;
  if (!cuda_device_free(cuda->device, &left, error))
    return false;
  int64_t bytes = left / 4 < MOST_BYTES ? left / 4 : MOST_BYTES;
  size_t half = (size_t)bytes / 2 / 256 * 256;
  if (!half || driver->memory_alloc(&at, 2 * half) != 0)
    return true; /* a device that is full is not measured */
  int result = driver->event_create(&events[0], 0);
  if (!result)
    result = driver->event_create(&events[1], 0);
  bool good = cuda_good(driver, result, "measuring the device", error) &&
              time_copies(cuda, at, half, events, &program->device.copied, error);
  for (int i = 0; i < 2; i++)
    if (events[i])
      driver->event_destroy(events[i]);
  driver->memory_free(at);
  return good;
}
