// The server as the rest of the extension sees it: started, stopped, its status, and the requests on their way.

import * as fs from "node:fs";
import * as vscode from "vscode";
import { CloseAction, ErrorAction, LanguageClient, type Middleware, State } from "vscode-languageclient/node";

import { Parts } from "./parts";
import { SECTION, serverSettings } from "./settings";

const STATUS = "mellum/status";
const MOST_RESTARTS = 5;
const RESTARTS_WITHIN = 3 * 60_000; // milliseconds
const SILENCE_AFTER = 200; // milliseconds without another request, until the server is asked why it was silent
const OVER_ONCE_READY = ["off", "loading", "no model"]; // reasons for silence that tell of the server, not of a place
const SLOW = 300; // milliseconds; an empty answer that took longer may be one that the server's deadline cut short

/** What the server says of itself; see `lsp_server/reporting/status.py`. */
export interface ServerStatus {
  state: "loading" | "ready" | "no-model" | "failed" | "disabled" | "unloaded";
  message: string;
  model: { name: string } | null;
  shown: number;
  accepted: number;
  silence?: { reason: string | null; sentence: string; counts: Record<string, number> };
  version: string;
}

const SELECTOR = ["file", "untitled", "vscode-notebook-cell"].map((scheme) => ({ scheme }));

export class Server implements vscode.Disposable {
  /** The last status; undefined while the server does not run. */
  status: ServerStatus | undefined;
  /** Why there is no server, with the mend. */
  problem: string | undefined;
  /** Where a suggestion was last asked for. */
  last: vscode.Location | undefined;
  private pending = 0;
  private client: LanguageClient | undefined;
  private ends: number[] = [];
  private silence: NodeJS.Timeout | undefined;
  /** A document that was typed in while the server was not ready, and its version. */
  private missed: { document: vscode.TextDocument; version: number } | undefined;
  private isAskingAgain = false;
  private readonly parts = new Parts();
  private readonly typing = vscode.workspace.onDidChangeTextDocument((event) => this.typed(event));
  private readonly changed = new vscode.EventEmitter<void>();
  readonly onDidChange = this.changed.event;

  constructor(
    private readonly extension: vscode.Extension<unknown>,
    private readonly log: vscode.LogOutputChannel,
  ) {
    const document = vscode.window.activeTextEditor?.document;
    if (document?.isDirty) { // it was typed in before this extension ran
      this.missed = { document, version: document.version };
    }
  }

  /** Whether a request for a suggestion is on its way. */
  get isThinking(): boolean {
    return this.pending > 0;
  }

  get isRunning(): boolean {
    return this.client?.state === State.Running;
  }

  /** Start a command as the server, in a folder that is no workspace. What goes wrong becomes `problem`. */
  async start(command: string, folder: string): Promise<void> {
    await this.stop();
    this.problem = undefined;
    fs.mkdirSync(folder, { recursive: true });
    const run = { command, args: ["serve"], options: { cwd: folder, env: { ...process.env, PYTHONUTF8: "1" } } };
    const client = new LanguageClient(SECTION, "Mellum", run, {
      documentSelector: SELECTOR,
      outputChannel: this.log,
      middleware: this.middleware(),
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => this.closed(),
      },
      initializationFailedHandler: () => false,
    });
    this.client = client;
    client.onNotification(STATUS, (status: ServerStatus) => this.set(status));
    client.onDidChangeState(({ newState }) => {
      if (newState === State.Running) {
        void this.refresh();
      } else {
        this.set(undefined);
      }
    });
    try {
      await client.start();
    } catch (error) {
      if (this.client === client) {
        this.fail(`The server ${command} does not start (${reason(error)}). See its log, or the setting mellum.server.path.`);
      }
    }
  }

  async stop(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    this.set(undefined);
    try {
      await client?.dispose();
    } catch (error) {
      this.log.info(`The server did not stop as it should: ${reason(error)}`);
    }
  }

  /** Say why there is no server, and what to do. */
  fail(problem: string): void {
    this.log.error(problem);
    this.problem = problem;
    this.changed.fire();
  }

  /** Ask the server for its status. */
  async refresh(): Promise<void> {
    try {
      this.set(await this.client?.sendRequest<ServerStatus>(STATUS, {}));
    } catch (error) {
      this.log.info(`The server did not tell its status: ${reason(error)}`);
    }
  }

  dispose(): void {
    clearTimeout(this.silence);
    this.changed.dispose();
    this.parts.dispose();
    this.typing.dispose();
    void this.stop();
  }

  private set(status: ServerStatus | undefined): void {
    if (status?.state === "ready" && status.silence && OVER_ONCE_READY.includes(status.silence.reason ?? "")) {
      status.silence.reason = null;
    }
    const isReady = status?.state === "ready" && this.status?.state !== "ready";
    this.status = status;
    this.changed.fire();
    if (isReady) {
      void this.askAgain();
    }
  }

  private typed({ document, contentChanges }: vscode.TextDocumentChangeEvent): void {
    const isActive = vscode.window.activeTextEditor?.document === document;
    if (isActive && contentChanges.length > 0 && this.status?.state !== "ready") {
      this.missed = { document, version: document.version };
    }
  }

  /** Let VS Code ask for what was typed before the server was ready; by itself it asks at the next key. */
  private async askAgain(): Promise<void> {
    const { missed } = this;
    this.missed = undefined;
    if (missed === undefined || missed.version !== missed.document.version) {
      return;
    }
    if (vscode.window.activeTextEditor?.document === missed.document) {
      this.isAskingAgain = true;
      try {
        await vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
      } finally {
        this.isAskingAgain = false;
      }
    }
  }

  /** The connection is gone without our doing: start again, unless that has happened too often. */
  private closed(): { action: CloseAction; message?: string; handled?: boolean } {
    const now = Date.now();
    this.ends = [...this.ends.filter((end) => now - end < RESTARTS_WITHIN), now];
    this.pending = 0;
    if (this.ends.length > MOST_RESTARTS) {
      this.fail(`The server ended ${this.ends.length} times in 3 minutes. See its log, then choose Restart the Server.`);
      return { action: CloseAction.DoNotRestart, handled: true };
    }
    const message = "Mellum's server ended unexpectedly; it is being started again.";
    void vscode.window.showWarningMessage(message, "Show Log").then((answer) => answer && this.log.show());
    return { action: CloseAction.Restart, message, handled: true };
  }

  private middleware(): Middleware {
    return {
      workspace: {
        configuration: ({ items }) =>
          items.map(({ section }) => (section === SECTION ? serverSettings(this.extension) : null)),
        // VS Code's own would send the extension's settings along
        didChangeConfiguration: async () => {
          const settings = { [SECTION]: serverSettings(this.extension) };
          await this.client?.sendNotification("workspace/didChangeConfiguration", { settings });
        },
      },
      provideInlineCompletionItems: async (document, position, context, token, next) => {
        this.last = new vscode.Location(document.uri, position);
        if (this.isAskingAgain) { // not the user
          context = { ...context, triggerKind: vscode.InlineCompletionTriggerKind.Automatic };
        }
        clearTimeout(this.silence);
        this.pending += 1;
        this.changed.fire();
        try {
          const begun = Date.now();
          let found = await next(document, position, context, token);
          let items = itemsOf(found);
          if (items.length === 0 && !token.isCancellationRequested && Date.now() - begun >= SLOW) {
            await this.refresh(); // VS Code asks no second time while nothing is typed
            if (this.status?.silence?.reason === "deadline" && !token.isCancellationRequested) {
              found = await next(document, position, context, token);
              items = itemsOf(found);
            }
          }
          if (items.length > 0) {
            this.parts.offer(document, items);
            if (this.status?.silence) {
              this.status.silence.reason = null;
            }
          } else if (!token.isCancellationRequested) {
            this.silence = setTimeout(() => void this.refresh(), SILENCE_AFTER);
          }
          return found;
        } finally {
          this.pending = Math.max(0, this.pending - 1);
          this.changed.fire();
        }
      },
    };
  }
}

function itemsOf(answer: vscode.InlineCompletionItem[] | vscode.InlineCompletionList | null | undefined) {
  return answer ? ("items" in answer ? answer.items : answer) : [];
}

/** The text of whatever was thrown. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
