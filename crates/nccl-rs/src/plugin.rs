//! Finding, loading and calling the plugin.
#![expect(
    unsafe_code,
    reason = "dlopen, and calls through the pointers that dlsym gives"
)]

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use collective::{GlooOptions, ProcessGroup, Store, cuda};

use crate::Error;

const FILE: &str = "libtutti_nccl.so";

/// The environment variable that names a plugin, before all other places.
const VARIABLE: &str = "TUTTI_NCCL_PLUGIN";

/// As `tutti_nccl_made_for` in plugin/nccl.cpp gives it.
const MADE_FOR: &str = "2.11.0/1";

type MadeFor = unsafe extern "C" fn() -> *const c_char;
type FreeText = unsafe extern "C" fn(*mut c_char);
type DeviceCount = unsafe extern "C" fn() -> c_int;
type Backend = unsafe extern "C" fn(
    *const c_void,
    c_int,
    c_int,
    c_int,
    i64,
    *mut *mut c_void,
    *mut *mut c_char,
) -> c_int;

/// The loaded plugin. It stays loaded until the process ends: libtorch keeps pointers into it.
#[derive(Clone, Debug)]
pub struct Plugin {
    path: PathBuf,
    calls: Calls,
}

#[derive(Clone, Copy, Debug)]
struct Calls {
    free_text: FreeText,
    device_count: DeviceCount,
    backend: Backend,
}

/// Brings CUDA and NCCL into the process. Call it before anything else touches libtorch; later calls give the same plugin.
///
/// The plugin is the file named by `TUTTI_NCCL_PLUGIN`, else `libtutti_nccl.so` beside the program, else the one made when
/// the program was built.
///
/// # Errors
/// When there is no plugin, or the system's loader refuses it (a CUDA library is missing). That there is no GPU is no error
/// here: see [`Plugin::need_device`].
pub fn load() -> Result<Plugin, Error> {
    static LOADED: OnceLock<Plugin> = OnceLock::new();
    if let Some(plugin) = LOADED.get() {
        return Ok(plugin.clone());
    }
    let path = find()?;
    let plugin = open(path)?;
    Ok(LOADED.get_or_init(|| plugin).clone())
}

fn find() -> Result<PathBuf, Error> {
    if let Some(named) = env::var_os(VARIABLE) {
        // Named on purpose: a mistake there must not be covered by another file.
        let named = PathBuf::from(named);
        return if named.exists() {
            Ok(named)
        } else {
            Err(Error::NotFound {
                looked: vec![named],
            })
        };
    }
    let mut looked = Vec::new();
    if let Ok(program) = env::current_exe()
        && let Some(folder) = program.parent()
    {
        looked.push(folder.join(FILE));
    }
    looked.extend(option_env!("NCCL_PLUGIN").map(PathBuf::from));
    if let Some(found) = looked.iter().find(|path| path.exists()) {
        return Ok(found.clone());
    }
    Err(match option_env!("NCCL_PLUGIN_MISSING") {
        Some(why) => Error::NotBuilt { why, looked },
        None => Error::NotFound { looked },
    })
}

fn open(path: PathBuf) -> Result<Plugin, Error> {
    let refused = |path: &Path, message: String| Error::Load {
        path: path.to_owned(),
        message,
    };
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| refused(&path, "its path holds a zero byte".to_owned()))?;
    // SAFETY: runs the initialisers of the CUDA part of libtorch, which registers itself with the part that is here already.
    // Global, because the CUDA libraries find each other's symbols that way.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        return Err(refused(&path, loader_error()));
    }
    // SAFETY: the type is that of the function in plugin/nccl.cpp; this one is in every version of it.
    let made_for = unsafe {
        let function: MadeFor = std::mem::transmute(
            symbol(handle, c"tutti_nccl_made_for").map_err(|message| refused(&path, message))?,
        );
        CStr::from_ptr(function()).to_string_lossy().into_owned()
    };
    if made_for != MADE_FOR {
        return Err(Error::Version {
            path,
            found: made_for,
            expected: MADE_FOR,
        });
    }
    let find = |name| symbol(handle, name).map_err(|message| refused(&path, message));
    // SAFETY: the types are those of the functions in plugin/nccl.cpp at the version just compared.
    let calls = unsafe {
        Calls {
            free_text: std::mem::transmute::<*mut c_void, FreeText>(find(c"tutti_nccl_free_text")?),
            device_count: std::mem::transmute::<*mut c_void, DeviceCount>(find(
                c"tutti_nccl_device_count",
            )?),
            backend: std::mem::transmute::<*mut c_void, Backend>(find(c"tutti_nccl_backend")?),
        }
    };
    cuda::set_loaded();
    Ok(Plugin { path, calls })
}

fn symbol(handle: *mut c_void, name: &CStr) -> Result<*mut c_void, String> {
    // SAFETY: the handle is that of a loaded library, the name ends with a zero.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if address.is_null() {
        return Err(loader_error());
    }
    Ok(address)
}

fn loader_error() -> String {
    // SAFETY: gives null or a text that lives until the next call of the loader on this thread.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            return "no reason given".to_owned();
        }
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

impl Plugin {
    /// The file that was loaded.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of GPUs; 0 where there is none or no driver.
    #[must_use]
    pub fn device_count(&self) -> usize {
        // SAFETY: a function without arguments that does not throw.
        let count = unsafe { (self.calls.device_count)() };
        usize::try_from(count).unwrap_or(0)
    }

    /// Whether GPU `device` is there.
    ///
    /// # Errors
    /// [`Error::NoGpu`] where there is none at all, [`Error::NoSuchGpu`] where there are others.
    pub fn need_device(&self, device: usize) -> Result<(), Error> {
        match self.device_count() {
            0 => Err(Error::NoGpu),
            count if device >= count => Err(Error::NoSuchGpu { device, count }),
            _ => Ok(()),
        }
    }

    /// Joins the group that meets in `store` as `rank` of `size`, with GPU `device` as this rank's own: CUDA tensors go
    /// through NCCL, CPU tensors and the barrier through Gloo. Keys of a store serve one group.
    ///
    /// # Errors
    /// As [`ProcessGroup::gloo`]; [`Error::NoGpu`] and [`Error::NoSuchGpu`]; and what NCCL finds wrong.
    pub fn process_group(
        &self,
        store: &Store,
        rank: usize,
        size: usize,
        device: usize,
        options: &GlooOptions,
    ) -> Result<ProcessGroup, Error> {
        self.need_device(device)?;
        let group = ProcessGroup::gloo(&store.prefixed("gloo")?, rank, size, options)?;
        let backend = self.backend(&store.prefixed("nccl")?, rank, size, device, options)?;
        // SAFETY: made a line above for the same ranks, by a plugin for the same libtorch, and given away here.
        unsafe { group.attach_cuda(backend) }?;
        Ok(group)
    }

    fn backend(
        &self,
        store: &Store,
        rank: usize,
        size: usize,
        device: usize,
        options: &GlooOptions,
    ) -> Result<*mut c_void, Error> {
        /// The plugin's number for wrong use.
        const ARGUMENT: i32 = 6;
        let doing = "joining the NCCL group";
        let number = |value: usize| {
            c_int::try_from(value).map_err(|_| {
                collective::Error::from_code(ARGUMENT, doing, format!("{value} is too large"))
            })
        };
        let timeout = i64::try_from(options.timeout.as_millis()).unwrap_or(i64::MAX);
        let (mut backend, mut message) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the store lives through the call; the two results are written during it.
        let code = unsafe {
            (self.calls.backend)(
                store.as_ptr(),
                number(rank)?,
                number(size)?,
                number(device)?,
                timeout,
                &raw mut backend,
                &raw mut message,
            )
        };
        if code == 0 {
            return Ok(backend);
        }
        let text = if message.is_null() {
            "no memory for the message".to_owned()
        } else {
            // SAFETY: a text made by strdup in the plugin, which nobody else holds, freed by the plugin.
            unsafe {
                let text = CStr::from_ptr(message).to_string_lossy().into_owned();
                (self.calls.free_text)(message);
                text
            }
        };
        Err(collective::Error::from_code(code, doing, text).into())
    }
}
