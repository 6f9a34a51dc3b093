/* `tricot inspect`: counts of a model file. argv[0] is the command's name; returns an exit status
 * of runtime/base/fault.h. */
#ifndef TRICOT_DRIVER_CMD_INSPECT_H
#define TRICOT_DRIVER_CMD_INSPECT_H
int cmd_inspect(int argc, char **argv);
#endif
