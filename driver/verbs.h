/* The verbs' functions: argv[0] is the verb; they return an exit status of runtime/base/fault.h. */
#ifndef TRICOT_DRIVER_VERBS_H
#define TRICOT_DRIVER_VERBS_H
#define VERB(name, function, doc) int function(int argc, char **argv);
#include "driver/verbs.def"
#undef VERB
#endif
