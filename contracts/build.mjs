// Compiles the contracts with solc-js and writes artifacts/; with --check it only compares, and exits 1 on a difference.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const solc = createRequire(import.meta.url)("solc");
const ROOT = dirname(fileURLToPath(import.meta.url));

// artifact file, source that is compiled, contract in it; a group is one run of the compiler, which numbers immutables over all of
// its sources: a new group leaves the artifacts of the others as they are
const MARKET = [
  ["AccessManager.json", "@openzeppelin/contracts/access/manager/AccessManager.sol", "AccessManager"],
  ["Participants.json", "src/Participants.sol", "Participants"],
  ["AssetRegistry.json", "src/AssetRegistry.sol", "AssetRegistry"],
  ["ComputeLedger.json", "src/ComputeLedger.sol", "ComputeLedger"],
  ["Settlement.json", "src/Settlement.sol", "Settlement"],
  ["test/BlsHarness.json", "test/BlsHarness.sol", "BlsHarness"],
];
const TRUST = [
  ["LogAnchor.json", "src/LogAnchor.sol", "LogAnchor"],
  ["IssuerRegistry.json", "src/IssuerRegistry.sol", "IssuerRegistry"],
];
const TARGETS = [MARKET, TRUST];

// Must say the same as foundry.toml. Comments do not reach the bytecode: no metadata hash is appended.
const SETTINGS = {
  evmVersion: "prague",
  optimizer: { enabled: true, runs: 200 },
  viaIR: false,
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences", "metadata"] } },
};

/** Reads a source by its import name: npm packages from node_modules, everything else from this folder. */
function readSource(name) {
  return readFileSync(join(ROOT, name.startsWith("@") ? "node_modules" : "", name), "utf8");
}

/** Collects the target's source and everything it imports, by import name. */
function collect(names) {
  const sources = {};
  const queue = [...names];
  while (queue.length > 0) {
    const name = queue.pop();
    if (sources[name]) continue;
    const content = readSource(name);
    sources[name] = { content };
    for (const [, path] of content.matchAll(/^\s*(?:import\b[^"';]*|\}\s*from\s*)["']([^"']+)["']\s*;/gm)) {
      queue.push(path.startsWith(".") ? posix.join(posix.dirname(name), path) : path);
    }
  }
  return Object.fromEntries(Object.entries(sources).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** SHA-256 over every source that one contract was compiled from, each name and content length-prefixed. */
function sourcesHash(metadata, sources) {
  const hash = createHash("sha256");
  for (const name of Object.keys(JSON.parse(metadata).sources).sort()) {
    for (const part of [name, sources[name].content]) {
      const bytes = Buffer.from(part, "utf8");
      hash.update(`${bytes.length}:`).update(bytes);
    }
  }
  return `0x${hash.digest("hex")}`;
}

function compile(targets) {
  const sources = collect(targets.map(([, source]) => source));
  const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings: SETTINGS })));
  const problems = (output.errors ?? []).filter((e) => e.severity !== "info");
  for (const problem of problems) process.stderr.write(problem.formattedMessage);
  if (problems.length > 0) throw new Error(`solc reported ${problems.length} errors or warnings`);
  return targets.map(([file, source, contractName]) => {
    const { abi, evm, metadata } = output.contracts[source][contractName];
    const size = evm.deployedBytecode.object.length / 2;
    if (size > 24576) throw new Error(`${contractName}: ${size} bytes of code, the limit is 24576`);
    const artifact = {
      contractName,
      abi,
      bytecode: `0x${evm.bytecode.object}`,
      deployedBytecode: `0x${evm.deployedBytecode.object}`,
      immutableReferences: evm.deployedBytecode.immutableReferences,
      compiler: { version: solc.version(), evmVersion: SETTINGS.evmVersion, optimizer: SETTINGS.optimizer, viaIR: SETTINGS.viaIR },
      sourcesHash: sourcesHash(metadata, sources),
    };
    return { file, size, text: `${JSON.stringify(artifact, null, 1)}\n` };
  });
}

/** Artifact files on disk, relative to artifacts/. */
function present(folder = "") {
  const path = join(ROOT, "artifacts", folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? present(posix.join(folder, e.name)) : [posix.join(folder, e.name)],
  );
}

function main(argv) {
  const unknown = argv.filter((a) => a !== "--check");
  if (unknown.length > 0) throw new Error(`unknown argument ${unknown[0]}; usage: node build.mjs [--check]`);
  const artifacts = TARGETS.flatMap(compile);
  if (!argv.includes("--check")) {
    for (const { file, text, size } of artifacts) {
      mkdirSync(dirname(join(ROOT, "artifacts", file)), { recursive: true });
      writeFileSync(join(ROOT, "artifacts", file), text);
      process.stdout.write(`artifacts/${file} ${size} bytes of code\n`);
    }
    return 0;
  }
  const expected = new Map(artifacts.map(({ file, text }) => [file, text]));
  const found = present();
  const stale = [...expected].filter(([f, text]) => !found.includes(f) || readFileSync(join(ROOT, "artifacts", f), "utf8") !== text).map(([f]) => f);
  const foreign = found.filter((f) => !expected.has(f));
  for (const file of stale) process.stderr.write(`artifacts/${file} is not what the sources compile to; run: node build.mjs\n`);
  for (const file of foreign) process.stderr.write(`artifacts/${file} belongs to no source\n`);
  if (stale.length + foreign.length > 0) return 1;
  process.stdout.write(`${artifacts.length} artifacts are what the sources compile to (solc ${solc.version()})\n`);
  return 0;
}

try {
  process.exitCode = main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`build.mjs: ${error.message}\n`);
  process.exitCode = 1;
}
