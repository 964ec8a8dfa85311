use std::collections::BTreeMap;

use collective::rng::seed_from;
use tch::{Device, Kind, Tensor};

use crate::{Error, TensorFile};

/// Whether a named tensor is trained or only carried along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A weight: averaged into the teacher, given to the optimizer unless frozen.
    Parameter,
    /// A statistic or a counter: stored, but neither averaged nor optimised.
    Buffer,
    /// Another name of a parameter, as the reference's state dicts have it; only stored.
    Alias,
}

#[derive(Debug)]
struct Entry {
    name: String,
    tensor: Tensor,
    role: Role,
}

/// The named tensors of one network, in the order in which the network uses them.
///
/// Layers hold shallow copies of the same tensors, so writing in place through the store changes the network.
#[derive(Debug)]
pub struct ParameterStore {
    entries: Vec<Entry>,
    index: BTreeMap<String, usize>,
    device: Device,
    seed: u64,
}

/// How a tensor's first values are made; PyTorch's defaults.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Init {
    /// Uniform in ±bound.
    Uniform(f64),
    /// Normal with this standard deviation.
    Normal(f64),
    /// Normal with this standard deviation, redrawn beyond ±2 (absolute, as `trunc_normal_`).
    TruncatedNormal(f64),
    /// One value.
    Constant(f64),
}

impl ParameterStore {
    pub(crate) fn new(seed: u64, device: Device) -> Self {
        Self {
            entries: Vec::new(),
            index: BTreeMap::new(),
            device,
            seed,
        }
    }

    /// A view that names tensors below `prefix`.
    pub(crate) fn scope(&mut self, prefix: &str) -> Scope<'_> {
        Scope {
            store: self,
            prefix: prefix.to_owned(),
        }
    }

    fn insert(&mut self, name: String, tensor: Tensor, role: Role) -> Tensor {
        let shared = tensor.shallow_clone();
        self.index.insert(name.clone(), self.entries.len());
        self.entries.push(Entry { name, tensor, role });
        shared
    }

    /// Drawn on the CPU whatever the device, from a generator seeded by (seed, name): the same weights everywhere, and
    /// another layer elsewhere does not shift them.
    fn draw(&self, name: &str, shape: &[i64], init: Init) -> Tensor {
        let options = (Kind::Float, Device::Cpu);
        let random = |fill: &dyn Fn(&mut Tensor)| {
            let seed = seed_from(&[
                ("purpose", "initial weights".into()),
                ("seed", self.seed.into()),
                ("name", name.into()),
            ]);
            tch::manual_seed(i64::from_le_bytes(seed.to_le_bytes()));
            let mut tensor = Tensor::empty(shape, options);
            fill(&mut tensor);
            tensor
        };
        let tensor = match init {
            Init::Constant(value) => Tensor::full(shape, value, options),
            Init::Uniform(bound) => random(&|tensor| {
                let _ = tensor.uniform_(-bound, bound);
            }),
            Init::Normal(deviation) => random(&|tensor| {
                let _ = tensor.normal_(0.0, deviation);
            }),
            // Two standard deviations of 0.02 stay far inside ±2, so a draw outside is clamped rather than redrawn.
            Init::TruncatedNormal(deviation) => random(&|tensor| {
                let _ = tensor.normal_(0.0, deviation).clamp_(-2.0, 2.0);
            }),
        };
        tensor.to_device(self.device)
    }

    /// Where the tensors live.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Names, roles and tensors in the network's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Role, &Tensor)> {
        self.entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.role, &entry.tensor))
    }

    /// Weights alone, in the network's order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.iter()
            .filter(|(_, role, _)| *role == Role::Parameter)
            .map(|(name, _, tensor)| (name, tensor))
    }

    /// One tensor.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.index
            .get(name)
            .map(|position| &self.entries[*position].tensor)
    }

    /// Asks for gradients of exactly the parameters that `trainable` accepts.
    pub fn set_trainable(&self, trainable: impl Fn(&str) -> bool) {
        for (name, tensor) in self.parameters() {
            let _ = tensor.set_requires_grad(trainable(name));
        }
    }

    /// Takes over all values of a network of the same settings.
    pub fn copy_from(&self, other: &Self) {
        tch::no_grad(|| {
            for (mine, theirs) in self.entries.iter().zip(&other.entries) {
                mine.tensor.shallow_clone().copy_(&theirs.tensor);
            }
        });
    }

    /// Reads every tensor from `file`, where its name is `prefix` + its name here.
    ///
    /// # Errors
    /// [`Error::Keys`] with all missing, surplus and misshapen tensors below `prefix` at once, or a parameter that differs under
    /// its two names; nothing is changed then.
    pub fn load(&self, file: &TensorFile, prefix: &str) -> Result<(), Error> {
        let mut missing = Vec::new();
        let mut misshapen = Vec::new();
        for (name, _, tensor) in self.iter() {
            let key = format!("{prefix}{name}");
            let Some((shape, kind)) = file.shape(&key) else {
                missing.push(key);
                continue;
            };
            if shape != tensor.size() || kind != tensor.kind() {
                misshapen.push(format!(
                    "{key}: {kind:?}{shape:?}, expected {:?}{:?}",
                    tensor.kind(),
                    tensor.size()
                ));
            }
        }
        let surplus: Vec<String> = file
            .names()
            .filter(|key| {
                key.strip_prefix(prefix)
                    .is_some_and(|name| !self.index.contains_key(name))
            })
            .map(str::to_owned)
            .collect();
        if !(missing.is_empty() && surplus.is_empty() && misshapen.is_empty()) {
            return Err(Error::Keys {
                path: file.path().to_owned(),
                missing,
                surplus,
                misshapen,
            });
        }
        tch::no_grad(|| {
            self.check_aliases(file, prefix)?;
            for (name, _, tensor) in self.parameters_and_buffers() {
                let stored = file.tensor(&format!("{prefix}{name}"))?;
                tensor.shallow_clone().f_copy_(&stored)?;
            }
            Ok(())
        })
    }

    /// A parameter has the same values under all its names, or the file is another network's.
    fn check_aliases(&self, file: &TensorFile, prefix: &str) -> Result<(), Error> {
        for (name, _, shared) in self.iter().filter(|(_, role, _)| *role == Role::Alias) {
            let first = self
                .parameters_and_buffers()
                .find(|(_, _, tensor)| tensor.data_ptr() == shared.data_ptr());
            let key = format!("{prefix}{name}");
            if let Some((first, ..)) = first
                && !file
                    .tensor(&key)?
                    .equal(&file.tensor(&format!("{prefix}{first}"))?)
            {
                return Err(file.content(
                    format!("tensor {key} with values of its own"),
                    format!("those of {prefix}{first}, which it is another name of"),
                ));
            }
        }
        Ok(())
    }

    fn parameters_and_buffers(&self) -> impl Iterator<Item = (&str, Role, &Tensor)> {
        self.iter().filter(|(_, role, _)| *role != Role::Alias)
    }
}

/// Creates tensors below one prefix.
pub(crate) struct Scope<'a> {
    store: &'a mut ParameterStore,
    prefix: String,
}

impl Scope<'_> {
    /// A scope below this one.
    pub(crate) fn sub(&mut self, name: &str) -> Scope<'_> {
        Scope {
            prefix: self.full(name),
            store: self.store,
        }
    }

    fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.prefix)
        }
    }

    pub(crate) fn parameter(&mut self, name: &str, shape: &[i64], init: Init) -> Tensor {
        let name = self.full(name);
        let tensor = self.store.draw(&name, shape, init);
        self.store.insert(name, tensor, Role::Parameter)
    }

    /// Shows `tensor`, a parameter with a name of its own, under another name too.
    pub(crate) fn alias(&mut self, name: &str, tensor: &Tensor) {
        let name = self.full(name);
        let _ = self.store.insert(name, tensor.shallow_clone(), Role::Alias);
    }

    pub(crate) fn buffer(&mut self, name: &str, shape: &[i64], value: f64) -> Tensor {
        let name = self.full(name);
        let tensor = self.store.draw(&name, shape, Init::Constant(value));
        self.store.insert(name, tensor, Role::Buffer)
    }

    pub(crate) fn counter(&mut self, name: &str) -> Tensor {
        let name = self.full(name);
        let tensor = Tensor::zeros([], (Kind::Int64, self.store.device));
        self.store.insert(name, tensor, Role::Buffer)
    }
}
