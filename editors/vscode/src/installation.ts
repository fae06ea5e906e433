// The server's command: the user's, the one on the PATH, or one in a virtual environment that the extension keeps.

import * as fs from "node:fs";
import * as path from "node:path";
import * as vscode from "vscode";

import { find, isProgram, run } from "./processes";
import { findPython } from "./python";
import { SECTION } from "./settings";


/** Where the server can be had from, and what was answered when the user was asked about it. */
export class Installation {
  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly log: vscode.LogOutputChannel,
  ) {}

  /** The folder for everything that the extension keeps. No workspace, so processes are started in it. */
  get folder(): string {
    return this.context.globalStorageUri.fsPath;
  }

  private get environment(): string {
    return path.join(this.folder, "server");
  }

  /** A file that is there once pip has finished. */
  private get finished(): string {
    return path.join(this.environment, "finished");
  }

  /** A file that is there once the user has said No; of this machine, as what would be installed. */
  private get declined(): string {
    return path.join(this.folder, "declined");
  }

  private decline(): void {
    fs.mkdirSync(this.folder, { recursive: true });
    fs.writeFileSync(this.declined, "");
  }

  private program(name: string): string {
    const isWindows = process.platform === "win32";
    return path.join(this.environment, isWindows ? "Scripts" : "bin", isWindows ? `${name}.exe` : name);
  }

  /** The server's command, or nothing where one has to be installed first. */
  command(): string | undefined {
    const named = vscode.workspace.getConfiguration(SECTION).get<string | null>("server.path");
    return named || find("mellum-lsp") || (this.isInstalled() ? this.program("mellum-lsp") : undefined);
  }

  /** Whether the extension's own environment is complete. */
  isInstalled(): boolean {
    return isProgram(this.program("mellum-lsp")) && fs.existsSync(this.finished);
  }

  /** Whether the user has said No, or removed what was installed. */
  get isDeclined(): boolean {
    return fs.existsSync(this.declined);
  }

  /** Ask whether to install; false where the user does not want it, which is remembered. */
  async ask(): Promise<boolean> {
    const question =
      "Mellum needs its server: about 600 MB with its Python packages, and a model of 93 MB. Install them for VS Code?";
    const answer = await vscode.window.showInformationMessage(question, "Install", "No");
    if (answer === "No") {
      this.decline();
    }
    return answer === "Install";
  }

  /**
   * Make the environment, or go on where an earlier attempt was interrupted. Throws NoPython or ProcessError.
   * With `upgrade`, replace what is there by the newest.
   */
  async install(report: (what: string) => void, signal: AbortSignal, upgrade = false): Promise<void> {
    const line = (said: string): void => {
      this.log.info(said);
      const step = /^(Collecting|Downloading|Building|Installing|Processing)\b[^(]*/.exec(said);
      if (step) {
        report(step[0].trim().slice(0, 80));
      }
    };
    const options = { folder: this.folder, signal, line };
    fs.rmSync(this.declined, { force: true });
    if (!isProgram(this.program("pip"))) {
      report("Making a virtual environment");
      const python = await findPython(this.folder);
      await run(python, ["-I", "-m", "venv", "--clear", this.environment], options);
    }
    const source = vscode.workspace.getConfiguration(SECTION).get<string>("server.package") || "mellum-lsp";
    const more = upgrade ? ["--upgrade"] : [];
    const pip = ["-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"];
    await run(this.program("python"), [...pip, ...more, source], options);
    fs.writeFileSync(this.finished, "");
  }

  /** Delete the environment, and do not ask to install it again. */
  async remove(): Promise<void> {
    this.decline();
    await fs.promises.rm(this.environment, { recursive: true, force: true, maxRetries: 3 });
  }
}
