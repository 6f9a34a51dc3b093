/* The frontend's inner structures: loaded models, their modules and steps, and the values that
 * expressions have while a graph is being made. Shared by the files of frontend/ only; everybody
 * else uses model.h.
 */
#ifndef TRICOT_FRONTEND_PARTS_H
#define TRICOT_FRONTEND_PARTS_H
#include "frontend/expression.h"
#include "frontend/model.h"
#include "runtime/base/map.h"

/* ---- values ---- */

typedef enum DatumKind {
  DATUM_NONE,
  DATUM_BOOL, /* integer */
  DATUM_INT,
  DATUM_REAL,
  DATUM_TEXT,
  DATUM_LIST,   /* count, items */
  DATUM_RECORD, /* count, items, keys */
  DATUM_INIT,   /* initial values of a parameter */
  DATUM_TENSOR,
  DATUM_MODEL /* an imported model */
} DatumKind;

/* A parameter or buffer becomes an input of the graph when something first reads it. */
typedef struct TensorRef {
  Value *value;
  ModelParameter *declared; /* or NULL */
} TensorRef;

typedef struct Datum Datum;
struct Datum {
  DatumKind kind;
  int64_t integer;
  double real;
  const char *text;
  int count;
  Datum *items;
  const char **keys;
  Init init;
  TensorRef *tensor;
  Model *model;
};

const char *datum_kind_name(DatumKind kind); /* "an integer", … */
const char *datum_text(Arena *arena, const Datum *datum);
const char *datum_whole_text(Arena *arena, const Datum *datum); /* long lists not cut short */
bool datum_equal(const Datum *a, const Datum *b);
const Datum *datum_member(const Datum *record, const char *key); /* NULL when absent */
Datum datum_int(int64_t value);
Datum datum_real(double value);
Datum datum_bool(bool value);
Datum datum_of_text(const char *text);
bool datum_number(const Datum *datum, double *value); /* integers and reals */

/* ---- steps ---- */

typedef enum StepKind {
  STEP_ASSIGN,   /* targets = expr */
  STEP_EVALUATE, /* expr, for what it declares */
  STEP_RETURN,
  STEP_TAP,    /* path = expr */
  STEP_OUTPUT, /* path = expr */
  STEP_UPDATE, /* targets[0] = expr */
  STEP_CHECK,  /* expr, message */
  STEP_FOR,    /* targets in expr: body */
  STEP_IF,     /* expr: body, otherwise */
  STEP_SCOPE,  /* path: body */
  STEP_STAGE,  /* path: body */
  STEP_UNCOUNTED
} StepKind;

typedef struct Step Step;
typedef struct Steps {
  int count;
  Step *at;
} Steps;

struct Step {
  StepKind kind;
  Loc loc;
  int n_targets;
  const char **targets;
  Path *path;
  Expr *expr, *message;
  const char *text; /* of a check */
  Steps body, otherwise;
};

typedef struct ModuleArg {
  const char *name;
  const char *type; /* one of tensor int real bool text list, or NULL: anything */
  Expr *fallback;   /* NULL: must be given */
  Loc loc;
} ModuleArg;

typedef struct Module {
  const char *name;
  Loc loc;
  Model *home;
  bool entry; /* its value is the record of its outputs */
  int n_args;
  ModuleArg *args;
  Steps body;
} Module;

/* Both parse as much as they can and report every error; false when there was any. */
bool parse_steps(Diag *diag, const Yaml *node, Steps *steps);
/* `condition` or `condition, message`: the text of a check without its word. */
bool parse_check_text(Diag *diag, Yaml *node, Step *step);
Module *parse_module(Diag *diag, Yaml *header, const Yaml *body, Model *home, bool entry);

/* ---- models ---- */

typedef struct ModelInput {
  const char *name;
  Expr *type; /* dtype[dimension, …], none, or a choice of the two by a condition */
} ModelInput;

typedef struct Named {
  const char *name;
  Datum value;
  Loc loc; /* where the value was given */
} Named;

typedef struct Import {
  const char *name;
  Model *model;
} Import;

struct Model {
  Arena *arena;
  Diag *diag; /* of loading */
  const char *name, *path, *doc, *variant;
  const char *variants_from; /* the import that variants belong to, or NULL */
  bool library;
  Loc loc;
  Yaml *root;
  VEC(Named) args;
  VEC(Named) lets;
  VEC(Import) imports;
  VEC(Model *) libraries;
  Map modules; /* name -> Module */
  VEC(Module *) entries;
  VEC(ModelInput) inputs;
  Expr *projection_inputs, *projection_outputs;
  const char *train_entry, *train_loss, *train_contrast; /* contrast may be NULL */
};

/* ---- loading ---- */

/* A --set: `text` is a scalar of the whole "path=value". */
typedef struct Setting {
  const char *path; /* relative to the model it is for */
  Yaml *text;
  int path_at, value_at; /* bytes of text */
} Setting;

/* What the loader of a model says about it: a variant, arguments, settings. */
typedef struct Setup {
  const char *variant;
  Loc variant_loc;
  Datum args; /* a record, or none */
  Loc *arg_locs;
  VEC(Setting) settings;
} Setup;

typedef struct Loader {
  Arena *arena;
  Diag *diag;
  VEC(const char *) open; /* real paths of the files being read */
  Map libraries;          /* real path -> Model */
} Loader;

/* Loads a file and everything it imports; NULL after errors. `from` is where its name stands. */
Model *load_file(Loader *loader, const char *path, Loc from, const Setup *setup);
/* The file's tree with the files it extends merged in; NULL after errors. */
Yaml *load_tree(Loader *loader, const char *path, Loc from);
/* The path of `name` as written at `where` in the file `near`: beside that file, in $TRICOT_MODELS,
 * or in the models folder beside the command's build folder. */
const char *find_file(Loader *loader, const char *near, const char *name, Loc where);
/* Pushes a file on the open ones; an import cycle is an error. */
bool open_file(Loader *loader, const char *path, Loc from);
/* Gives an argument (dotted) a new value of the same kind. */
bool set_arg(Loader *loader, Model *model, const char *path, const Datum *value, Loc loc);
bool apply_setup(Loader *loader, Model *model, const Setup *setup);

/* ---- making graphs ---- */

typedef struct Local {
  const char *name;
  Datum value;
} Local;

typedef struct Frame Frame;
struct Frame {
  const Module *module; /* NULL: the model itself */
  Model *home;
  Frame *caller;
  Loc call; /* where it was called */
  VEC(Local) locals;
  Datum outputs; /* of an entry: a record */
  bool returned;
  Datum result;
};

/* One run over an entry (graph and builder set) or over constants (graph NULL). */
typedef struct Making {
  Arena *arena;
  Diag *diag;
  Graph *graph;
  Builder builder;
  bool training;
  Frame *frame;
  const char *scope; /* dotted, "" at the top */
  Map parameters;    /* name -> ModelParameter, declared so far */
  VEC(ModelParameter *) declared;
  Map taps, stage_names;
  VEC(const char *) stages;
  int depth;      /* of C recursion */
  int64_t budget; /* expressions left to evaluate */
} Making;

void making_start(Making *making, Arena *arena, Diag *diag, Model *home, Frame *frame);
/* The value of an expression in the current frame. False after an error. */
bool evaluate(Making *making, const Expr *expr, Datum *value);
bool evaluate_int(Making *making, const Expr *expr, const char *what, int64_t *value);
/* A value as YAML writes it: lists, mappings, plain scalars are expressions, quoted ones text. */
bool evaluate_yaml(Making *making, Yaml *node, Datum *value);
/* The type `dtype[dimension, …]` says. */
bool evaluate_type(Making *making, const Expr *expr, Type *type);
/* The type of a declared input; *absent where these arguments leave it out (`none`). */
bool evaluate_input(Making *making, const Expr *expr, Type *type, bool *absent);
const char *evaluate_path(Making *making, const Path *path); /* NULL after an error */
/* Gives names to a value, or to the elements of a list when there are several. */
bool bind_targets(Making *making, Loc loc, int count, const char *const *names,
                  const Datum *value);
/* A shape from a list of integers; false (an error at loc) where it is none. */
bool shape_from_list(Making *making, Loc loc, const Datum *list, Type *type);
/* Dimensions of at least 1, and few enough elements that no byte count overflows. */
bool check_shape(Making *making, Loc loc, const Type *type);
bool evaluate_call(Making *making, const Expr *call, Datum *value);
bool run_steps(Making *making, const Steps *steps);
bool call_module(Making *making, const Module *module, const Expr *call, const Datum *values,
                 Datum *result);
/* The tensor's value, made an input of the graph on first use; NULL after an error. */
Value *tensor_value(Making *making, TensorRef *tensor);
Datum tensor_datum(Making *making, Value *value);
/* The value of a name in the frame, its model, or the language; false (no error): there is none. */
bool look_up(Making *making, const char *name, Datum *value);
/* An error at the user's place: a library's own lines are named in a note. Returns false. */
bool making_error(Making *making, Loc loc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Notes after an error that somebody else reported. Returns false. */
bool making_notes(Making *making, Loc loc);
Loc making_place(const Making *making, Loc loc);
/* Binary operators and op calls over tensors (and numbers among them). */
bool evaluate_tensor_binary(Making *making, const Expr *expr, const char *operator,
                            const Datum *left, const Datum *right, Datum *value);
bool call_op(Making *making, const Op *op, const Expr *call, const Datum *values, Datum *result);
/* Functions of the language: found is set where there is one of that name for these arguments. */
bool call_builtin(Making *making, const char *name, const Expr *call, const Datum *values,
                  bool *found, Datum *result);
#endif
