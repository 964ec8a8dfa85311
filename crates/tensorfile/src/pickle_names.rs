//! The only names that a pickle may ask for. Everything else is refused; nothing here is ever looked up or called.

use crate::Dtype;

/// What a permitted name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`: (storage, offset, shape, strides, …).
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`: (tensor, …).
    RebuildParameter,
    /// A class of typed storages.
    Storage(Dtype),
    /// An element type by itself, a plain value.
    Dtype(&'static str),
    /// A dict, made from nothing or from pairs.
    Dict,
    /// A dict whose first argument is a type, dropped here.
    DefaultDict,
    /// A container made from another one, or one value that stands for itself (`torch.Size`, `set`, `torch.device`).
    Same,
    /// Text into bytes; how protocol 2 writes bytes.
    Encode,
    /// A plain type as a value (`int`, `typing.Any`).
    Type(&'static str),
    /// A class of plain data that is kept as a named bag of values, never made.
    Inert(&'static str),
}

/// Classes without behaviour of their own that trainers leave among the settings in a checkpoint.
const INERT: &[&str] = &[
    "argparse.Namespace",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib.WindowsPath",
];

/// Types that stand as values, in settings and as what a `defaultdict` makes.
const TYPES: &[&str] = &[
    "builtins.bool",
    "builtins.dict",
    "builtins.float",
    "builtins.int",
    "builtins.list",
    "builtins.str",
    "builtins.tuple",
    "typing.Any",
];

const DTYPES: &[&str] = &[
    "torch.bfloat16",
    "torch.bool",
    "torch.float16",
    "torch.float32",
    "torch.float64",
    "torch.int16",
    "torch.int32",
    "torch.int64",
    "torch.int8",
    "torch.uint8",
];

/// What `module.name` stands for, if it is permitted.
pub(crate) fn find(full_name: &str) -> Option<Global> {
    // protocol 2 writes Python 2's names
    let renamed = full_name
        .strip_prefix("__builtin__.")
        .map(|name| match name {
            "long" => "builtins.int".to_owned(),
            "unicode" => "builtins.str".to_owned(),
            name => format!("builtins.{name}"),
        });
    let full_name = renamed.as_deref().unwrap_or(full_name);
    let one_of = |names: &[&'static str]| names.iter().copied().find(|name| *name == full_name);
    Some(match full_name {
        "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => Global::RebuildTensor,
        "torch._utils._rebuild_parameter" => Global::RebuildParameter,
        "torch.DoubleStorage" => Global::Storage(Dtype::F64),
        "torch.FloatStorage" => Global::Storage(Dtype::F32),
        "torch.HalfStorage" => Global::Storage(Dtype::F16),
        "torch.BFloat16Storage" => Global::Storage(Dtype::BF16),
        "torch.LongStorage" => Global::Storage(Dtype::I64),
        "torch.IntStorage" => Global::Storage(Dtype::I32),
        "torch.ShortStorage" => Global::Storage(Dtype::I16),
        "torch.CharStorage" => Global::Storage(Dtype::I8),
        "torch.ByteStorage" => Global::Storage(Dtype::U8),
        "torch.BoolStorage" => Global::Storage(Dtype::Bool),
        "collections.OrderedDict" => Global::Dict,
        "collections.defaultdict" => Global::DefaultDict,
        "torch.Size" | "torch.device" | "builtins.set" | "builtins.frozenset" => Global::Same,
        "_codecs.encode" => Global::Encode,
        _ => {
            if let Some(name) = one_of(DTYPES) {
                Global::Dtype(name)
            } else if let Some(name) = one_of(TYPES) {
                Global::Type(name)
            } else {
                Global::Inert(one_of(INERT)?)
            }
        }
    })
}
