"""The configuration's sections: all keys of a recipe and all flags of train, eval, export and predict.

A recipe (configs/*.yaml) must have the fields without a default here, so that each default stands in one place.
"""
from functools import partial
from typing import Annotated, Dict, Literal, Optional, Tuple, Union

from pydantic import Field, WithJsonSchema

from rtseg.config.fields import LARGEST_SIDE, SIZE_EXPECTED, Section, Side, option
from rtseg.data.dataset_spec import DatasetSpec

_EVAL = ("eval",)
_EXPORT = ("export",)
_PREDICT = ("predict",)
_DATA = ("train", "eval")
_JOBS = ("train", "eval", "export")
_ALL = ("train", "eval", "export", "predict")
train_option = partial(option, commands=("train",))
export_option = partial(option, commands=_EXPORT)
predict_option = partial(option, commands=_PREDICT)

_Share = Annotated[float, Field(ge=0, le=1)]
_Deviation = Annotated[float, Field(ge=0.001, le=1)]
_Positive = Annotated[float, Field(ge=0)]
_Pixels = Annotated[int, Field(ge=1)]
_Scale = Annotated[float, Field(ge=0.01)]
InputType = Literal["float32", "uint8"]                       # of an exported model
OutputType = Literal["logits", "class_map", "head_logits"]
Resize = Literal["letterbox", "squeeze"]
_MULTIPLE = f"a positive multiple of 32 up to {LARGEST_SIDE}"


class Network(Section):
    """Which network, and how it is built."""

    model: str = option("network", commands=_ALL, aliases=("--name",), metavar="NAME")
    variant: str = option("published graph of the network", commands=_ALL, metavar="NAME")
    backbone: Optional[str] = option("backbone of the network; empty: its first, or none", None, commands=_ALL,
                                     metavar="NAME")
    aux: int = option("number of auxiliary heads in training: 0, 1 or 2; alone or True: the recipe's, but at least 1",
                      commands=_JOBS, bare="True", ge=0)
    dropout: float = train_option("dropout probability before the classifiers", ge=0, le=0.99)
    bn_momentum: Optional[float] = train_option("BatchNorm momentum in MindSpore's meaning; empty: the variant's own. "
                                                "Short runs need 0.9: the running statistics must settle before an "
                                                "evaluation means something", ge=0, le=0.9999)


class Data(Section):
    """The data set, and how its images become batches."""

    dataset: str = option("root of the data set; Cityscapes: the folder with leftImg8bit/ and gtFine/", "",
                          commands=_DATA, aliases=("--cityscapes_root", "--data_path", "--dataset_path"),
                          metavar="DIR")
    dataset_config: Annotated[DatasetSpec, WithJsonSchema({"type": "string"})] = option(
        "data-set specification: a name in configs/datasets/ or a YAML file", "cityscapes", commands=_ALL,
        metavar="NAME|FILE", expected="a name, a YAML file, or in a recipe the keys themselves")
    train_split: Literal["train", "trainval", "val", "test", "testval"] = train_option("split to train on", "train")
    eval_split: Literal["val", "train", "trainval", "test"] = option("split to evaluate", "val", commands=_DATA)
    prepared_cache: str = option("dataset cache, made by scripts/prepare_cache.sh; empty: read the PNG files", "",
                                 commands=_DATA, metavar="DIR")
    num_workers: Optional[int] = option(
        "threads that load and augment images; 0: none but the main one; empty: 2 on CPU, 16 on an NPU", None,
        commands=_DATA + _PREDICT, ge=0, le=1024)
    batch_size: int = train_option("images per step and process", aliases=("--train_batch_size",), ge=1)
    mean: Tuple[_Share, _Share, _Share] = option("RGB mean of the normalization, image values in 0..1", commands=_ALL)
    std: Tuple[_Deviation, _Deviation, _Deviation] = option("RGB standard deviation of the normalization",
                                                            commands=_ALL)
    base_size: int = option("short side that scale 1 means, pixels", commands=_DATA, ge=32, le=LARGEST_SIDE)
    crop_size: Tuple[Side, Side] = option(
        "training crop, one number or H,W; also of --eval_mode crop", commands=_DATA, metavar="H,W",
        expected=SIZE_EXPECTED)
    scale_range: Tuple[_Scale, _Scale] = train_option("range of the random scale, factors of base_size")
    max_class_ratio: float = train_option("crop again while one class fills more than this share; 1: off", gt=0, le=1)
    blur_probability: float = train_option("probability of a Gaussian blur", ge=0, le=1)
    color_jitter: float = train_option("strength of brightness, contrast and saturation jitter; 0: off", ge=0, le=1)


class Loss(Section):
    """The training loss."""

    name: Literal["mix", "ohem"] = train_option("cross entropy over all pixels (mix) or over the hard ones (ohem)",
                                                flag="loss")
    aux_weight: float = train_option("weight of each auxiliary loss", ge=0)
    ohem_threshold: float = train_option("ohem: pixels whose class has less than this probability are hard", gt=0,
                                         le=0.9999)
    ohem_min_kept: float = train_option("ohem: share of the valid pixels that is always kept", gt=0, le=1)
    class_weights: Tuple[_Positive, ...] = train_option("weight of each class in the loss, as many as classes; empty: "
                                                        "all equal. rtseg check-data suggests some", ())


class Optimizer(Section):
    """SGD with momentum, and mixed precision."""

    base_lr: float = train_option("learning rate for base_lr_batch_size images per step; the rate used is proportional "
                                  "to the global batch", gt=0)
    base_lr_batch_size: int = train_option("global batch size that base_lr is for", ge=1)
    lr: Optional[float] = train_option("learning rate, instead of base_lr; not scaled with the batch", None,
                                       aliases=("--init_lr",), gt=0)
    momentum: float = train_option("SGD momentum", ge=0, le=1)
    weight_decay: float = train_option("L2 weight decay", ge=0)
    decay_bn_bias: bool = train_option("weight decay on BatchNorm parameters and biases too")
    lr_factors: Dict[str, _Positive] = train_option(
        "learning-rate factors by parameter-name prefix", metavar="PREFIX=X,...",
        expected="a mapping from parameter-name prefix to factor >= 0, such as aux_heads=10")
    amp_level: Literal["O0", "O1", "O2", "O3"] = train_option("mixed precision; O0 is float32",
                                                              aliases=("--opt-level",))
    loss_scale: Union[Annotated[float, Field(gt=0)], Literal["dynamic"]] = train_option(
        "fixed loss scale, or dynamic", aliases=("--loss-scale",), metavar="X|dynamic",
        expected="a number > 0 or 'dynamic'")
    accumulate: int = train_option("parts of batch_size images whose gradients are added up for one update; the global "
                                   "batch is so many times as large", 1, ge=1)
    clip_norm: float = train_option("largest global norm of the gradients, which are scaled down to it; 0: no limit",
                                    0.0, ge=0)
    ema_decay: float = train_option("decay of an exponential moving average of the weights, such as 0.999, which is "
                                    "then evaluated, saved and exported in their place; 0: off", 0.0, ge=0, le=0.999999)


class Schedule(Section):
    """How long to train, and the learning rate over time."""

    epochs: int = train_option("passes over the training split", ge=1)
    lr_scheduler: Literal["poly", "cosine", "step", "constant"] = train_option("schedule after the warm-up")
    lr_power: float = train_option("exponent of the poly schedule", gt=0)
    lr_end: float = train_option("final learning rate of poly and cosine", ge=0)
    lr_milestones: Tuple[_Positive, ...] = train_option("epochs at which the step schedule decays")
    lr_gamma: float = train_option("factor of each step decay", gt=0, le=1)
    warmup: Literal["linear", "exponential"] = train_option("how the learning rate grows in the warm-up", "linear")
    warmup_epochs: float = train_option("epochs of warm-up", ge=0)
    warmup_factor: float = train_option("share of the learning rate at which the warm-up starts", ge=0, le=1)
    early_stop: int = train_option("stop after so many evaluations in a row without a better mIoU; 0: never", 0, ge=0)


class Evaluation(Section):
    """How checkpoints are scored, in training and by eval."""

    eval_while_train: bool = train_option("evaluate while training and keep best_map.ckpt", True)
    eval_steps: int = train_option("epochs between evaluations", 10, ge=1)
    eval_start_epoch: int = train_option("no evaluation before this epoch", 0, ge=0)
    eval_batch_size: int = option("images per evaluation step", 1, commands=_DATA, aliases=("--valid_batch_size",),
                                  ge=1)
    eval_mode: Literal["full", "crop", "ms_flip"] = option(
        "full images; the model zoo's resized centre crop; several scales and flipped", "full", commands=_EVAL)
    boundary_iou: bool = option("also score boundary IoU (Cheng et al. 2021, 2 % of the diagonal)", False,
                                commands=_EVAL)
    save_mask: bool = option("write coloured masks and overlays", True, commands=_EVAL)


class Run(Section):
    """Files, devices and processes of one run."""

    pretrained: str = train_option("checkpoint to start from: weights of the whole network or of its backbone, or a "
                                   "name of rtseg fetch-weights or in pretrained/", "",
                                   aliases=("--load-from", "--finetune-from"), metavar="FILE")
    resume_path: str = option("folder of the checkpoint, or the file itself; train: auto continues the newest run in "
                              "output_path (ModelArts: outer_path), if there is one", "", commands=_DATA,
                              aliases=("--resume-from", "--checkpoint_path"), metavar="DIR|FILE")
    resume_name: str = option("file in resume_path; empty: last.ckpt for train, best_map.ckpt for eval", "",
                              commands=_DATA, metavar="NAME")
    ckpt_file: str = option("checkpoint to export, or to predict with", "", commands=_EXPORT + _PREDICT,
                            aliases=("--ckpt-file",), metavar="FILE")
    output_path: str = option("where results go; train makes a folder named after the time in it", "output",
                              commands=_DATA + _PREDICT, aliases=("--work-dir",), metavar="DIR")
    save_every: int = train_option("epochs between checkpoints", 1, ge=1)
    ckpt_save_max: int = train_option("checkpoints to keep in ckpt_<rank>", 5, ge=1)
    log_interval: int = train_option("steps between log lines", 10, ge=1)
    tensorboard: bool = train_option("write an event file for TensorBoard to tensorboard/ in the run folder", False)
    max_steps: int = train_option("performance run: stop after this many steps and report images/s; 0: off", 0, ge=0)
    profile: int = train_option("performance run of the first step and so many under MindSpore's profiler; prints the "
                                "operators that take longest; 0: off", 0, ge=0)
    seed: int = train_option("seed of weights, order and augmentation", 1, ge=0)
    diff_seed: bool = train_option("augmentation depends on the rank too; weights and the order of the images never do",
                                   False)
    device_target: Literal["auto", "Ascend", "CPU", "GPU"] = option(
        "device; auto: Ascend if MindSpore reports one, else CPU", "auto", commands=_ALL)
    device_id: int = option("index of the device; if not given, the environment's DEVICE_ID, ASCEND_DEVICE_ID or "
                            "OMPI_COMM_WORLD_LOCAL_RANK", 0, commands=_ALL, aliases=("--gpu-id", "--gpu-ids"), ge=0)
    precision_mode: Literal["auto", "must_keep_origin_dtype", "allow_fp32_to_fp16", "force_fp16", "allow_mix_precision",
                            "force_fp32", "allow_fp32_to_bf16", "allow_mix_precision_fp16",
                            "allow_mix_precision_bf16"] = option(
        "what an Ascend does with float32 operators; auto: keeps float32, except that convolutions and products of an "
        "Atlas 910 get float16, the only type its matrix units have", "auto", commands=_DATA)
    is_distributed: bool = option("one of several processes, started by msrun or with a rank table", False,
                                  commands=_DATA)
    rank: Optional[int] = option("rank of this process; the launcher knows it, a value given is checked", None,
                                 commands=_DATA, ge=0)
    group_size: Optional[int] = option("number of processes; the launcher knows it, a value given is checked", None,
                                       commands=_DATA, ge=1)
    is_save_on_master: bool = train_option("only rank 0 writes; 0: each rank writes its ckpt_<rank>", True)


class ModelArts(Section):
    """Jobs on ModelArts, whose data and results are in object storage."""

    use_modelarts: bool = option("a ModelArts job: what obs:// or s3:// addresses name is copied in, and the results "
                                 "are copied to outer_path", False, commands=_JOBS)
    data_url: str = option("given by ModelArts: dataset, if that is empty", "", commands=_JOBS, metavar="URL")
    train_url: str = option("given by ModelArts: outer_path, if that is empty", "", commands=_JOBS, metavar="URL")
    outer_path: str = option("where the results of a ModelArts job are kept: obs://, s3:// or a folder", "",
                             commands=_JOBS, metavar="URL|DIR")
    upload_every: int = train_option("epochs between copies of the results to outer_path", 5, ge=1)
    copy_path: str = option("folder for what a ModelArts job copies in; empty: /cache, or the system's folder for "
                            "temporary files", "", commands=_JOBS, metavar="DIR")
    copy_timeout: float = option("seconds that copying in, or copying the results once, may take", 3600.0,
                                 commands=_JOBS, gt=0)


DEFAULT_MODEL = "fast_scnn_camvid"  # what predict takes where nothing else is asked for
SAVE_KINDS = ("overlay", "mask", "class_map", "confidence")


class Prediction(Section):
    """What predict segments."""

    inputs: Tuple[str, ...] = option(
        "images (PNG, JPEG), videos, folders of them, and quoted patterns such as 'day1/*.jpg'; or the index of a "
        "camera, such as 0", (), nargs="+", metavar="INPUT")
    model_path: str = predict_option("exported .onnx or .mindir instead of a checkpoint; the metadata file next to it "
                                     "says all about the network; or the name of a model in pretrained/; empty, and no "
                                     f"checkpoint: {DEFAULT_MODEL}", "", metavar="FILE|NAME")
    resize: Resize = predict_option("images of another size than an exported model's: keep their shape and pad, or "
                                    "stretch them to its size", "letterbox")
    window: Optional[Tuple[_Pixels, _Pixels]] = option(
        "sliding window, one number or H,W in pixels; empty: the whole image at once", None, commands=_EVAL + _PREDICT,
        metavar="H,W", expected="one number or H,W, both integers >= 1")
    overlap: Optional[Tuple[_Pixels, _Pixels]] = option(
        "by how many pixels neighbouring windows overlap at least, one number or H,W; empty: a quarter of the window",
        None, commands=_EVAL + _PREDICT, metavar="H,W", expected="one number or H,W, both integers >= 1")
    scales: Tuple[_Scale, ...] = option("average over the image at these scales, such as 0.75,1,1.25; empty: 1", (),
                                        commands=_EVAL + _PREDICT)
    flip: bool = option("average over the image and its mirror image", False, commands=_EVAL + _PREDICT)
    save: str = predict_option("what to write for each image: some of overlay, mask, class_map, confidence",
                               "overlay,mask,class_map", metavar="KIND,...")
    align_corners: bool = predict_option("head logits of a model without metadata: how its network upsamples them",
                                         False)
    shard: str = predict_option("i/n: only part i of n of the images, i from 1 to n, so that n machines share them; "
                                "all must get the same inputs", "1/1", metavar="I/N")
    overwrite: bool = predict_option("do images again whose results this model has already written", False)
    max_frames: int = predict_option("camera: stop after so many frames; 0: at Ctrl-C", 0, ge=0)
    submit: bool = predict_option("write only label ids, as the Cityscapes test server takes them", False)

    @property
    def save_kinds(self) -> Tuple[str, ...]:
        """`save` as a tuple."""
        return tuple(kind.strip() for kind in self.save.split(",") if kind.strip())

    @property
    def shard_numbers(self) -> Tuple[int, int]:
        """`shard` as (i, n), 1 <= i <= n."""
        number, count = map(int, self.shard.split("/"))
        return number, count


class Export(Section):
    """The exported model."""

    from_mindir: str = export_option("exported .mindir to convert instead of a checkpoint, with --file_format ONNX", "",
                                     metavar="FILE")
    file_format: Literal["MINDIR", "ONNX", "AIR"] = export_option(
        "format; AIR, which MindSpore has deprecated, on Ascend only: ONNX and atc replace it", "MINDIR")
    file_name: str = export_option("file to write, the suffix follows from the format; empty: <model>, or the name of "
                                   "the .mindir", "", metavar="FILE")
    image_height: int = export_option("input height, pixels", 1024, expected=_MULTIPLE, ge=32, le=LARGEST_SIDE,
                                      multiple_of=32)
    image_width: int = export_option("input width, pixels", 2048, expected=_MULTIPLE, ge=32, le=LARGEST_SIDE,
                                     multiple_of=32)
    batch_size: int = export_option("images that go through the exported network together", 1, flag="export_batch_size",
                                    aliases=("--batch_size",), ge=1, le=1024)
    opset: int = export_option("ONNX operator set, 13 to 17; older CANN reads up to 13", 13, ge=13, le=17)
    dynamic_batch: bool = export_option("ONNX: the model takes any batch size", False)
    dynamic_size: bool = export_option("ONNX: the model takes any height and width that are multiples of 32; BiSeNetV1 "
                                       "only", False)
    precision: Literal["float32", "int8"] = export_option("ONNX: int8 quantizes the convolutions, with --calibration",
                                                          "float32")
    calibration: str = export_option("int8: folder of images like those the network will see; at most 32 of them are "
                                     "used", "", metavar="DIR")
    verify: str = export_option("image, or folder of images: compare the exported file with the checkpoint on them, "
                                "and fail where they differ", "", metavar="FILE|DIR")
    input_type: InputType = export_option("float32: normalized images (N, 3, H, W); uint8: images as they are (N, H, "
                                          "W, 3), normalized in the graph", "float32")
    output_type: OutputType = option(
        "logits: float32 (N, C, H, W); class_map: train ids, uint8 (N, H, W); head_logits: before the network's last "
        "upsampling, float32 (N, C, H/8, W/8), or H/4 and W/4 for liminn", "logits", commands=_EXPORT + _PREDICT)

    @property
    def dynamic_axes(self) -> Tuple[str, ...]:
        """Lengths of the input that the ONNX file leaves open."""
        return ("batch",) * self.dynamic_batch + ("height", "width") * self.dynamic_size
