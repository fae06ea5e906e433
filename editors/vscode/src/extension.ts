// Finds the server or installs it, starts it, and shows how it is. The grey text itself comes from vscode-languageclient.

import * as vscode from "vscode";

import { Installation } from "./installation";
import { chooseModel, showContext, showMenu, showStatistics, toggle, toggleLanguage } from "./menu";
import { run } from "./processes";
import { Server, reason } from "./server";
import { SECTION } from "./settings";
import { StatusBar } from "./status_bar";

let server: Server | undefined;

/** Called by VS Code after its start; returns at once, whatever there is to install. */
export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel("Mellum", { log: true });
  const installation = new Installation(context, log);
  const running = (server = new Server(context.extension, log));
  const bar = new StatusBar(running);
  context.subscriptions.push(log, bar, running);

  const start = async (): Promise<void> => {
    const command = installation.command();
    if (command !== undefined) {
      await running.start(command, installation.folder);
      return;
    }
    running.fail("There is no server yet: choose Mellum: Install the Server.");
    if (!installation.isDeclined && (await installation.ask())) {
      await install();
    }
  };

  /** Run steps with progress that the user sees and can cancel; what goes wrong is said once. */
  const withProgress = async (
    title: string,
    steps: (report: (what: string) => void, signal: AbortSignal) => Promise<void>,
  ): Promise<boolean> => {
    const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
    return vscode.window.withProgress(options, async (progress, token) => {
      const abort = new AbortController();
      token.onCancellationRequested(() => abort.abort());
      const report = (message: string): void => {
        progress.report({ message });
        bar.activity = `${title}: ${message}`;
        bar.update();
      };
      try {
        await steps(report, abort.signal);
        return true;
      } catch (error) {
        const problem = abort.signal.aborted ? `${title} was cancelled: the next attempt goes on there.` : reason(error);
        running.fail(problem);
        void vscode.window.showErrorMessage(`Mellum: ${problem}`);
        return false;
      } finally {
        bar.activity = undefined;
        bar.update();
      }
    });
  };

  const setUp = async (report: (what: string) => void, signal: AbortSignal): Promise<void> => {
    const command = installation.command();
    if (command === undefined) {
      throw new Error("There is no server yet: choose Mellum: Install the Server.");
    }
    report("the default model");
    const line = (said: string): void => {
      log.info(said);
      report(said.slice(0, 80));
    };
    await run(command, ["setup"], { folder: installation.folder, signal, line });
  };

  const install = async (upgrade = false): Promise<void> => {
    await running.stop(); // Windows replaces no file that is in use
    const isDone = await withProgress("Installing Mellum's server", async (report, signal) => {
      await installation.install(report, signal, upgrade);
      await setUp(report, signal);
    });
    if (isDone) {
      await start();
    }
  };

  const commands: Record<string, () => unknown> = {
    menu: () => showMenu(running, installation, bar.sentence),
    toggle,
    toggleLanguage,
    trigger: () => vscode.commands.executeCommand("editor.action.inlineSuggest.trigger"),
    showLog: () => log.show(),
    showContext: () => showContext(running, installation),
    chooseModel: () => chooseModel(installation),
    showStatistics: () => showStatistics(installation),
    restart: start,
    setUpModel: async () => (await withProgress("Setting up Mellum's model", setUp)) && (await start()),
    installServer: () => install(),
    upgradeServer: () => install(true),
    removeServer: async () => {
      await running.stop();
      await installation.remove();
      await start();
    },
  };
  for (const [name, command] of Object.entries(commands)) {
    context.subscriptions.push(vscode.commands.registerCommand(`mellum.${name}`, command));
  }
  context.subscriptions.push(
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration(`${SECTION}.server.path`)) {
        void start();
      }
    }),
  );
  void start();
}

/** Called by VS Code at its end. */
export async function deactivate(): Promise<void> {
  await server?.stop();
}
