/* Opening the CUDA driver. See driver.h. */
#include "runtime/cuda/driver.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* attributes of a device */
enum {
  MULTIPROCESSORS = 16,
  L2_BYTES = 38,
  CAPABILITY_MAJOR = 75,
  CAPABILITY_MINOR = 76,
  SHARED_OPTIN = 97
};

static struct {
  CudaDriver table;
  char why_not[400];
} driver;

static pthread_once_t opened = PTHREAD_ONCE_INIT;

typedef struct Wanted {
  const char *name;
  void *slot;
} Wanted;

static bool find_functions(void *library) {
  CudaDriver *t = &driver.table;
  const Wanted wanted[] = {
      {"cuInit", &t->init},
      {"cuGetErrorName", &t->error_name},
      {"cuGetErrorString", &t->error_text},
      {"cuDriverGetVersion", &t->version},
      {"cuDeviceGetCount", &t->device_count},
      {"cuDeviceGet", &t->device_get},
      {"cuDeviceGetName", &t->device_name},
      {"cuDeviceGetAttribute", &t->device_attribute},
      {"cuDeviceTotalMem_v2", &t->device_memory},
      {"cuDevicePrimaryCtxRetain", &t->context_retain},
      {"cuDevicePrimaryCtxRelease_v2", &t->context_release},
      {"cuCtxSetCurrent", &t->context_current},
      {"cuModuleLoadDataEx", &t->module_load},
      {"cuModuleUnload", &t->module_unload},
      {"cuModuleGetFunction", &t->module_function},
      {"cuFuncSetAttribute", &t->function_set},
      {"cuLaunchKernel", &t->launch},
      {"cuMemAlloc_v2", &t->memory_alloc},
      {"cuMemFree_v2", &t->memory_free},
      {"cuMemGetInfo_v2", &t->memory_info},
      {"cuMemHostAlloc", &t->host_alloc},
      {"cuMemFreeHost", &t->host_free},
      {"cuMemcpyHtoDAsync_v2", &t->copy_to_device},
      {"cuMemcpyDtoHAsync_v2", &t->copy_to_host},
      {"cuMemcpyDtoDAsync_v2", &t->copy_on_device},
      {"cuMemsetD8Async", &t->fill_bytes},
      {"cuStreamCreate", &t->stream_create},
      {"cuStreamDestroy_v2", &t->stream_destroy},
      {"cuStreamSynchronize", &t->stream_synchronize},
      {"cuStreamWaitEvent", &t->stream_wait},
      {"cuStreamBeginCapture_v2", &t->capture_begin},
      {"cuStreamEndCapture", &t->capture_end},
      {"cuEventCreate", &t->event_create},
      {"cuEventDestroy_v2", &t->event_destroy},
      {"cuEventRecordWithFlags", &t->event_record},
      {"cuEventSynchronize", &t->event_synchronize},
      {"cuEventElapsedTime", &t->event_elapsed},
      {"cuGraphInstantiateWithFlags", &t->graph_instantiate},
      {"cuGraphDestroy", &t->graph_destroy},
      {"cuGraphLaunch", &t->replay_launch},
      {"cuGraphExecDestroy", &t->replay_destroy},
  };
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    void *symbol = dlsym(library, wanted[i].name);
    memcpy(wanted[i].slot, &symbol, sizeof symbol);
    if (!symbol) {
      snprintf(driver.why_not, sizeof driver.why_not,
               "the CUDA driver on this machine is too old: it has no %s", wanted[i].name);
      return false;
    }
  }
  return true;
}

static void open_driver(void) {
  const char *named = getenv("TRICOT_CUDA_DRIVER");
  const char *file = named && *named ? named : "libcuda.so.1";
  void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  Error error;
  if (!library) {
    snprintf(driver.why_not, sizeof driver.why_not,
             "there is no CUDA driver on this machine (%s cannot be opened)", file);
    return;
  }
  if (!find_functions(library))
    return;
  int result = driver.table.init(0);
  if (result == CUDA_NO_DEVICE)
    snprintf(driver.why_not, sizeof driver.why_not, "the CUDA driver finds no device");
  else if (result == CUDA_STUB_LIBRARY)
    snprintf(driver.why_not, sizeof driver.why_not,
             "%s is the library to link against, not a CUDA driver", file);
  else if (!cuda_good(&driver.table, result, "the CUDA driver does not start", &error))
    snprintf(driver.why_not, sizeof driver.why_not, "%.390s", error.text);
}

const CudaDriver *cuda_driver(Error *error) {
  pthread_once(&opened, open_driver);
  if (!*driver.why_not)
    return &driver.table;
  error_set(error, "%s", driver.why_not);
  return NULL;
}

bool cuda_good(const CudaDriver *table, int result, const char *what, Error *error) {
  const char *name = NULL, *words = NULL;
  if (result == 0)
    return true;
  if (table->error_name(result, &name) != 0 || !name)
    return error_set(error, "%s: error %d of the CUDA driver", what, result);
  table->error_text(result, &words);
  return error_set(error, "%s: %s (%s)", what, name, words ? words : "");
}

/* ---- devices ---- */

static bool ask(CudaDevice *d, Error *error) {
  const CudaDriver *driver_table = d->driver;
  int major = 0, minor = 0, shared = 0, l2 = 0;
  size_t bytes = 0;
  const struct {
    int attribute, *value;
  } wanted[] = {{CAPABILITY_MAJOR, &major},
                {CAPABILITY_MINOR, &minor},
                {MULTIPROCESSORS, &d->multiprocessors},
                {L2_BYTES, &l2},
                {SHARED_OPTIN, &shared}};
  int result = driver_table->device_name(d->name, sizeof d->name, d->handle);
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted && !result; i++)
    result = driver_table->device_attribute(wanted[i].value, wanted[i].attribute, d->handle);
  if (!result)
    result = driver_table->device_memory(&bytes, d->handle);
  d->capability = 10 * major + minor;
  d->shared_bytes = shared;
  d->l2_bytes = l2;
  d->total_bytes = (int64_t)bytes;
  return cuda_good(driver_table, result, "asking the CUDA device", error);
}

bool cuda_device_open(CudaDevice *d, int number, Error *error) {
  *d = (CudaDevice){.number = number};
  const CudaDriver *table = cuda_driver(error);
  int count = 0;
  if (!table || !cuda_good(table, table->device_count(&count), "counting CUDA devices", error))
    return false;
  if (count == 0)
    return error_set(error, "the CUDA driver finds no device");
  if (number < 0 || number >= count)
    return error_set(error, "there is no CUDA device %d; this machine has %d, from number 0",
                     number, count);
  d->driver = table;
  if (!cuda_good(table, table->device_get(&d->handle, number), "opening the CUDA device", error) ||
      !ask(d, error) ||
      !cuda_good(table, table->context_retain(&d->context, d->handle), "opening the CUDA device",
                 error))
    return false;
  return cuda_good(table, table->context_current(d->context), "opening the CUDA device", error);
}

void cuda_device_close(CudaDevice *d) {
  if (d->context)
    d->driver->context_release(d->handle);
  *d = (CudaDevice){0};
}

bool cuda_device_free(const CudaDevice *d, int64_t *bytes, Error *error) {
  size_t left = 0, all = 0;
  if (!cuda_good(d->driver, d->driver->memory_info(&left, &all), "asking for free memory", error))
    return false;
  *bytes = (int64_t)left;
  return true;
}
