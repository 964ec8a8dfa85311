//! Fetching libtorch: the pinned wheels of PyTorch, unpacked by pip into `.libtorch/`, never imported.
//!
//! Why wheels: they are the one published form of libtorch that is pinned by checksum, complete with the CUDA libraries
//! that belong to it, and reachable wherever pip is. Why one fixed Python tag: the C++ part is the same in all of them, so
//! any Python can fetch it and one checksum suffices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// The version that tch 0.24 and the shim are made for.
const VERSION: &str = "2.11.0";

/// The tags that the pinned wheels carry; pip matches them exactly once a platform is named.
const PLATFORMS: [&str; 10] = [
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_25_x86_64",
    "manylinux_2_18_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_12_x86_64",
    "manylinux2010_x86_64",
    "manylinux_2_5_x86_64",
    "manylinux1_x86_64",
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also fetch the CUDA libraries and headers (about 3 GB more), for machines with a GPU
    #[arg(long)]
    cuda: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure(args.cuda)
}

/// Makes sure that libtorch is there; fetches it once. A libtorch that the environment variable `LIBTORCH` names is used
/// as it is, after a look at its version.
///
/// # Errors
/// When a needed program is missing, the fetch fails, or the given libtorch is another version.
pub(crate) fn ensure(cuda: bool) -> Result<()> {
    need_compiler()?;
    if let Some(given) = std::env::var_os("LIBTORCH") {
        // cargo sets the variable for its children from .cargo/config.toml, as an absolute path into the project.
        let given = PathBuf::from(given);
        if given != shell::root().join(".libtorch/torch") {
            return check_version(&given)
                .map(|()| shell::say(format!("using libtorch {VERSION} in {}", given.display())));
        }
    }
    let requirements = shell::root().join("libtorch").join(if cuda {
        "requirements-cuda.txt"
    } else {
        "requirements.txt"
    });
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let folder = shell::root().join(".libtorch");
    // A folder with the CUDA libraries serves a build without them as well.
    let have = fs::read_to_string(folder.join("requirements.txt")).unwrap_or_default();
    if have == wanted
        || (!cuda
            && have == fs::read_to_string(shell::root().join("libtorch/requirements-cuda.txt"))?)
    {
        return Ok(());
    }
    fetch(&requirements, &wanted, &folder)
}

fn fetch(requirements: &Path, wanted: &str, folder: &Path) -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!(
            "the pinned wheels are for Linux on x86-64; elsewhere install PyTorch {VERSION} yourself and set LIBTORCH to its \
             folder `torch`"
        );
    }
    if !shell::works("python3", &["-m", "pip", "--version"]) {
        bail!(
            "Python with pip is missing; on Debian or Ubuntu: sudo apt-get install python3 python3-pip"
        );
    }
    // Unpacked aside and renamed, so that an interrupted fetch leaves nothing that looks complete.
    let partial = folder.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)
            .with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-compile",
        "--disable-pip-version-check",
        "--no-warn-conflicts",
    ])
    .args([
        "--require-hashes",
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        "3.11",
    ])
    .args(["--abi", "cp311", "--abi", "none"])
    // It is right about system folders, and this is not one.
    .env("PIP_ROOT_USER_ACTION", "ignore");
    for platform in PLATFORMS {
        pip.args(["--platform", platform]);
    }
    pip.arg("--target")
        .arg(&partial)
        .arg("--requirement")
        .arg(requirements);
    shell::step(
        &format!("fetching libtorch {VERSION} with pip (about 0.7 GB, once)"),
        &mut pip,
    )?;
    check_version(&partial.join("torch"))?;
    fs::write(partial.join("requirements.txt"), wanted)
        .context("cannot mark .libtorch as complete")?;
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove the older {}", folder.display()))?;
    }
    fs::rename(&partial, folder)
        .with_context(|| format!("cannot move {} into place", partial.display()))
}

fn need_compiler() -> Result<()> {
    for (program, package) in [("c++", "g++"), ("cc", "gcc")] {
        if !shell::works(program, &["--version"]) {
            bail!(
                "the compiler `{program}` is missing; on Debian or Ubuntu: sudo apt-get install {package}"
            );
        }
    }
    Ok(())
}

fn check_version(torch: &Path) -> Result<()> {
    let file = torch.join("version.py");
    let text = fs::read_to_string(&file)
        .with_context(|| format!("{} is not a PyTorch folder", torch.display()))?;
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix("__version__ = '"))
        .map(|rest| rest.trim_end_matches('\''))
        .with_context(|| format!("{} names no version", file.display()))?;
    if found.split('+').next() != Some(VERSION) {
        bail!(
            "{} is PyTorch {found}, expected {VERSION} (its C++ classes have no stable layout)",
            torch.display()
        );
    }
    Ok(())
}
