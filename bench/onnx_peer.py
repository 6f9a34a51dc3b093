"""ONNX Runtime's and OpenVINO's process in the comparisons of peers.sh (worker.py says how asked).

`how` is `export` (PyTorch's model to ONNX, once), `onnxruntime` (all graph optimisations) or
`openvino` (latency mode). Both read the same file. Threads are pinned: OpenVINO's by its own
setting, ONNX Runtime's second and later by its affinity setting and its first, the caller, here.
"""
import os

import worker


def export(told):
    import torch
    import models
    import tensors
    model = models.fill(models.new(told["model"]), tensors.load(told["weights"])).eval()
    arrays = worker.inputs(told)
    given = tuple(torch.from_numpy(arrays[name]) for name in told["takes"])
    program = torch.onnx.export(model, given, dynamo=True, optimize=True,
                                input_names=list(told["takes"]), output_names=["pooled"])
    program.save(told["onnx"])


def onnxruntime(told, given):
    import onnxruntime as ort
    cpus = sorted(os.sched_getaffinity(0))[:told["threads"]]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = told["threads"]
    options.inter_op_num_threads = 1
    if told["threads"] > 1:  # processors count from 1 there
        options.add_session_config_entry("session.intra_op_thread_affinities",
                                         ";".join(str(cpu + 1) for cpu in cpus[1:]))
    session = ort.InferenceSession(told["onnx"], options, providers=["CPUExecutionProvider"])
    os.sched_setaffinity(0, cpus[:1])
    return lambda: session.run(["pooled"], given)[0], f"ONNX Runtime {ort.__version__}"


def openvino(told, given):
    import openvino as ov
    compiled = ov.Core().compile_model(told["onnx"], "CPU", {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": told["threads"],
        "INFERENCE_PRECISION_HINT": told["precision"], "ENABLE_CPU_PINNING": True})
    request = compiled.create_infer_request()
    request.set_tensors({name: ov.Tensor(value) for name, value in given.items()})

    def work():
        request.infer()
        return request.get_output_tensor(0).data.copy()

    return work, f"OpenVINO {ov.__version__}"


def main():
    told = worker.settings()
    if told["how"] == "export":
        export(told)
        return
    arrays = worker.inputs(told)
    given = {name: arrays[name] for name in told["takes"]}
    work, versions = {"onnxruntime": onnxruntime, "openvino": openvino}[told["how"]](told, given)
    seconds = worker.times(work, told)
    worker.answer(told, lambda: {"pooled": work().astype("float32")}, seconds, versions)


if __name__ == "__main__":
    main()
