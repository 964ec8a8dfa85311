//! PyTorch's Python part, in an environment of the tests' own: the wheel in `.libtorch/`, pinned packages, stand-ins for GPU libraries.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one process may take; the usual time is some seconds.
const LIMIT: Duration = Duration::from_secs(200);

/// Runs `tests/python/<script>` on a folder; panics with what it said when it fails.
pub(crate) fn run(script: &str, folder: &Path) {
    let torch = torch();
    let python = python(&torch);
    let site = packages(&python, &torch);
    let mut command = isolated(&python);
    command
        .arg(scripts().join(script))
        .arg(folder)
        .env(
            "PYTHONPATH",
            std::env::join_paths([site.join("site"), torch.join("..")]).unwrap(),
        )
        .env("LD_LIBRARY_PATH", site.join("stubs"))
        .env("CUDA_VISIBLE_DEVICES", "")
        .env("OMP_NUM_THREADS", "1");
    within_limit(&mut command, folder).unwrap_or_else(|said| panic!("{script} failed: {said}"));
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python")
}

/// Folder `torch` of the wheel.
fn torch() -> PathBuf {
    let torch = std::env::var_os("LIBTORCH").expect("cargo sets LIBTORCH for its tests");
    let torch = fs::canonicalize(torch).expect("LIBTORCH names a folder");
    assert!(
        torch.join("__init__.py").is_file(),
        "{} has no Python part: these tests need the libtorch that `cargo xtask libtorch` fetches",
        torch.display()
    );
    torch
}

/// The Python that the wheel was built for.
fn python(torch: &Path) -> String {
    let version = fs::read_dir(torch)
        .unwrap()
        .find_map(|entry| {
            let name = entry.unwrap().file_name().into_string().ok()?;
            let minor = name.strip_prefix("_C.cpython-3")?.split('-').next()?;
            Some(format!("3.{minor}"))
        })
        .unwrap_or_else(|| panic!("no _C.cpython-… in {}", torch.display()));
    let wanted = format!("Python {version}.");
    [format!("python{version}"), "python3".to_owned()]
        .into_iter()
        .find(|program| {
            let output = Command::new(program).arg("--version").output();
            output.is_ok_and(|output| {
                String::from_utf8_lossy(&output.stdout).starts_with(&wanted)
            })
        })
        .unwrap_or_else(|| {
            panic!(
                "Python {version} is missing: the libtorch wheel's Python part runs under no other; install python{version} with \
                 pip (Debian: apt-get install python{version} python3-pip)"
            )
        })
}

/// A Python that sees no packages of the machine or the user.
fn isolated(python: &str) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-S", "-s", "-B", "-W", "ignore"])
        .env_remove("PYTHONHOME");
    command
}

/// The folder with pinned packages and stand-ins; made anew when what it is made from changes.
fn packages(python: &str, torch: &Path) -> PathBuf {
    let requirements = scripts().join("requirements.txt");
    let stubs = scripts().join("gpu_stubs.py");
    let mut made_from = torch.as_os_str().as_encoded_bytes().to_vec();
    for file in [&requirements, &stubs, &torch.join("version.py")] {
        made_from.extend(fs::read(file).unwrap());
    }
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(temporary).unwrap();
    // tests run at the same time in several processes: the first makes it, the others wait
    let lock = File::create(temporary.join("python.lock")).unwrap();
    lock.lock().unwrap();
    let folder = temporary.join("python");
    if fs::read(folder.join("made_from")).is_ok_and(|before| before == made_from) {
        return folder;
    }
    // made aside and renamed: an interrupted one never looks complete
    let partial = temporary.join("python-partial");
    for old in [&folder, &partial] {
        match fs::remove_dir_all(old) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
    fs::create_dir(&partial).unwrap();
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
    ])
    .args(["--require-hashes", "--only-binary=:all:", "--retries=2"])
    .arg("--target")
    .arg(partial.join("site"))
    .arg("--requirement")
    .arg(&requirements)
    .env("PIP_ROOT_USER_ACTION", "ignore")
    .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    within_limit(&mut pip, &partial).unwrap_or_else(|said| {
        panic!(
            "pip cannot install {}: these tests need pip and a way to PyPI: {said}",
            requirements.display()
        )
    });
    let mut make = isolated(python);
    make.arg(&stubs).arg(torch).arg(partial.join("stubs"));
    within_limit(&mut make, &partial).unwrap_or_else(|said| {
        panic!("stand-ins for GPU libraries cannot be made; they need nm and cc (Debian: apt-get install gcc): {said}")
    });
    fs::write(partial.join("made_from"), made_from).unwrap();
    fs::rename(&partial, &folder).unwrap();
    folder
}

/// Runs to the end, or for [`LIMIT`]; what it printed as the error. `folder` takes the output meanwhile.
fn within_limit(command: &mut Command, folder: &Path) -> Result<(), String> {
    let path = folder.join("output.txt");
    let output = File::create(&path).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output);
    let mut child = command
        .spawn()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let start = Instant::now();
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            if status.success() {
                return Ok(());
            }
            break status.to_string();
        }
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            break format!("killed after {} s", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let said = fs::read(&path).unwrap_or_default();
    Err(format!("{ended}\n{}", String::from_utf8_lossy(&said)))
}
