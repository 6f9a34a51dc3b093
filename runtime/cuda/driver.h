/* The CUDA driver: the few of its functions that are used, found at run time, and devices.
 *
 * libcuda.so.1 comes with the driver and is opened by name; nothing of it is needed to build. The
 * environment variable TRICOT_CUDA_DRIVER names another file to open instead. Declarations are our
 * own, after the driver's documented interface; the functions are those of the versions that CUDA
 * 11.4 has and later ones keep. All are called from one thread at a time.
 */
#ifndef TRICOT_RUNTIME_CUDA_DRIVER_H
#define TRICOT_RUNTIME_CUDA_DRIVER_H
#include "runtime/base/fault.h"
#include <stddef.h>
#include <stdint.h>

typedef uint64_t CudaAddress; /* of device memory */
typedef struct CudaContextObject *CudaContext;
typedef struct CudaModuleObject *CudaModule;
typedef struct CudaFunctionObject *CudaFunction;
typedef struct CudaStreamObject *CudaStream;
typedef struct CudaEventObject *CudaEvent;
typedef struct CudaGraphObject *CudaGraph;
typedef struct CudaReplayObject *CudaReplay; /* a graph that can be launched */

/* Results that are told apart; 0 is success. */
enum { CUDA_OUT_OF_MEMORY = 2, CUDA_STUB_LIBRARY = 34, CUDA_NO_DEVICE = 100 };

/* Every function gives a result. Names in the library stand in driver.c. */
typedef struct CudaDriver {
  int (*init)(unsigned flags);
  int (*error_name)(int result, const char **text);
  int (*error_text)(int result, const char **text);
  int (*version)(int *thousand_major_ten_minor);
  int (*device_count)(int *count);
  int (*device_get)(int *device, int number);
  int (*device_name)(char *name, int room, int device);
  int (*device_attribute)(int *value, int attribute, int device);
  int (*device_memory)(size_t *bytes, int device);
  int (*context_retain)(CudaContext *, int device);
  int (*context_release)(int device);
  int (*context_current)(CudaContext);
  int (*module_load)(CudaModule *, const void *image, unsigned options, int *option, void **value);
  int (*module_unload)(CudaModule);
  int (*module_function)(CudaFunction *, CudaModule, const char *name);
  int (*function_set)(CudaFunction, int attribute, int value);
  int (*launch)(CudaFunction, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                unsigned block_y, unsigned block_z, unsigned shared_bytes, CudaStream,
                void **arguments, void **extra);
  int (*memory_alloc)(CudaAddress *, size_t bytes);
  int (*memory_free)(CudaAddress);
  int (*memory_info)(size_t *free_bytes, size_t *total_bytes);
  int (*host_alloc)(void **, size_t bytes, unsigned flags);
  int (*host_free)(void *);
  int (*copy_to_device)(CudaAddress to, const void *from, size_t bytes, CudaStream);
  int (*copy_to_host)(void *to, CudaAddress from, size_t bytes, CudaStream);
  int (*copy_on_device)(CudaAddress to, CudaAddress from, size_t bytes, CudaStream);
  int (*fill_bytes)(CudaAddress, unsigned char value, size_t count, CudaStream);
  int (*stream_create)(CudaStream *, unsigned flags);
  int (*stream_destroy)(CudaStream);
  int (*stream_synchronize)(CudaStream);
  int (*stream_wait)(CudaStream, CudaEvent, unsigned flags);
  int (*capture_begin)(CudaStream, int mode);
  int (*capture_end)(CudaStream, CudaGraph *);
  int (*event_create)(CudaEvent *, unsigned flags);
  int (*event_destroy)(CudaEvent);
  int (*event_record)(CudaEvent, CudaStream, unsigned flags);
  int (*event_synchronize)(CudaEvent);
  int (*event_elapsed)(float *milliseconds, CudaEvent from, CudaEvent to);
  int (*graph_instantiate)(CudaReplay *, CudaGraph, unsigned long long flags);
  int (*graph_destroy)(CudaGraph);
  int (*replay_launch)(CudaReplay, CudaStream);
  int (*replay_destroy)(CudaReplay);
} CudaDriver;

/* The driver, opened and initialised by the first call in a process. NULL with one line that says
 * why there is none: no library, the library for linking only, no device. */
const CudaDriver *cuda_driver(Error *error);

/* result == 0, else false with "WHAT: CUDA_ERROR_… (words)". */
bool cuda_good(const CudaDriver *, int result, const char *what, Error *error);

typedef struct CudaDevice {
  const CudaDriver *driver;
  CudaContext context; /* the device's primary one, retained */
  int number, handle;
  int capability; /* ten times the compute capability: 80, 90 */
  int multiprocessors;
  int64_t l2_bytes;
  int64_t shared_bytes; /* most that a launch can give a block */
  int64_t total_bytes;  /* of device memory */
  char name[128];
} CudaDevice;

/* Opens device `number` and makes its context the calling thread's. Close it after failures too. */
bool cuda_device_open(CudaDevice *, int number, Error *error);
void cuda_device_close(CudaDevice *);
/* Bytes of device memory that nobody has; after cuda_device_open. */
bool cuda_device_free(const CudaDevice *, int64_t *bytes, Error *error);
#endif
