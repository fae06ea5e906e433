// Child processes: each is started here, without a shell, and in a folder that is no workspace.

import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";

/** A process ended with an error; the message is what it said last. */
export class ProcessError extends Error {}

export interface Options {
  folder: string;
  signal?: AbortSignal;
  /** Called with each whole line of stdout and stderr. */
  line?: (line: string) => void;
}

/** Run a program to its end and return its stdout. Throws ProcessError. */
export function run(program: string, parameters: string[], options: Options): Promise<string> {
  return new Promise((resolve, reject) => {
    fs.mkdirSync(options.folder, { recursive: true });
    const env = { ...process.env, PYTHONUTF8: "1", COLUMNS: "200", NO_COLOR: "1" };
    const child = spawn(program, parameters, {
      cwd: options.folder,
      env,
      signal: options.signal,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    let last = "";
    const lines = (begun: string, piece: string): string => {
      const whole = (begun + piece).split(/[\r\n]+/);
      const rest = whole.pop() ?? "";
      for (const line of whole.filter((one) => one.trim())) {
        last = line.trim();
        options.line?.(last);
      }
      return rest;
    };
    let [begunOut, begunErr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (piece: string) => {
      out += piece;
      begunOut = lines(begunOut, piece);
    });
    child.stderr.setEncoding("utf8").on("data", (piece: string) => (begunErr = lines(begunErr, piece)));
    child.on("error", (error) => reject(new ProcessError(error.message)));
    child.on("close", (code, signal) => {
      lines(begunErr, "\n");
      if (code === 0) {
        resolve(out);
      } else {
        reject(new ProcessError(last || `${path.basename(program)} ended with ${code ?? signal}`));
      }
    });
  });
}

/** Return the whole path of a program on the PATH; folders named relative to another are passed over. */
export function find(name: string): string | undefined {
  const endings = process.platform === "win32" ? [".exe"] : [""];
  for (const folder of (process.env.PATH ?? "").split(path.delimiter)) {
    for (const ending of path.isAbsolute(folder) ? endings : []) {
      const program = path.join(folder, name + ending);
      if (isProgram(program)) {
        return program;
      }
    }
  }
  return undefined;
}

/** Whether a path is a file that can be run. */
export function isProgram(program: string): boolean {
  try {
    fs.accessSync(program, fs.constants.X_OK);
    return fs.statSync(program).isFile();
  } catch {
    return false;
  }
}
