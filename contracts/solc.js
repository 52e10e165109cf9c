#!/usr/bin/env node
// The command line that forge expects of `solc`, answered by solc-js: forge then runs without a network.
// `--version` prints the compiler's version; `--standard-json` compiles standard input to standard output.
"use strict";

const fs = require("fs");
const solc = require("solc");

const argv = process.argv.slice(2);
if (argv.includes("--version")) {
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
} else if (argv.includes("--standard-json")) {
  process.stdout.write(solc.compile(fs.readFileSync(0, "utf8")));
} else {
  process.stderr.write(`solc.js: expected --version or --standard-json, got ${JSON.stringify(argv)}\n`);
  process.exitCode = 2;
}
