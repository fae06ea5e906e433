// Which Python of this machine the server's virtual environment can be made from.

import * as vscode from "vscode";

import { find, isProgram, run } from "./processes";
import { SECTION } from "./settings";

const OLDEST = [3, 11] as const;
const NAMES = ["python3.14", "python3.13", "python3.12", "python3.11", "python3", "python"];
const FACTS = `
import importlib.util, json, sys
has_venv = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
print(json.dumps([list(sys.version_info[:3]), has_venv, sys.executable]))
`;

/** No Python can be used; the message says why and what to do. */
export class NoPython extends Error {}

/** Return the path of a Python that can make a virtual environment. Throws NoPython. */
export async function findPython(folder: string): Promise<string> {
  const named = vscode.workspace.getConfiguration(SECTION).get<string | null>("server.python");
  const candidates = named ? [named] : NAMES.map(find).filter((one) => one !== undefined);
  const mend = "then choose Mellum: Install the Server";
  let problem = `There is no Python on the PATH: install Python ${OLDEST.join(".")} or newer, ${mend}.`;
  for (const candidate of candidates) {
    const facts = isProgram(candidate) ? await factsOf(candidate, folder) : undefined;
    if (facts === undefined) {
      problem = `${candidate} does not run: install Python ${OLDEST.join(".")} or newer, ${mend}.`;
      continue;
    }
    const [version, hasVenv, executable] = facts;
    const [major = 0, minor = 0] = version;
    if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
      problem = `${candidate} is Python ${version.join(".")}: install ${OLDEST.join(".")} or newer, ${mend}.`;
    } else if (!hasVenv) {
      const what = process.platform === "linux" ? `the package python${major}.${minor}-venv` : "a Python with venv";
      problem = `${candidate} cannot make virtual environments: install ${what}, ${mend}.`;
    } else {
      return executable;
    }
  }
  throw new NoPython(problem);
}

async function factsOf(python: string, folder: string): Promise<[number[], boolean, string] | undefined> {
  try {
    return JSON.parse(await run(python, ["-I", "-c", FACTS], { folder, signal: AbortSignal.timeout(20_000) }));
  } catch {
    return undefined;
  }
}
