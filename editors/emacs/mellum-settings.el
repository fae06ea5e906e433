;;; mellum-settings.el --- What the server of Mellum can be told  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; Made by `python -m lsp_server.configuration.schema --write' from the schema of
;; the server.  What has its default value here is not sent.

;;; Code:

(defgroup mellum nil
  "Grey text from a local code model."
  :group 'convenience
  :prefix "mellum-"
  :link '(url-link "https://github.com/mellum-lsp/mellum-lsp"))

(defgroup mellum-server nil
  "Settings of the language server mellum-lsp."
  :group 'mellum
  :prefix "mellum-")

(defvar mellum--settings-hook nil "Run after Customize has changed a setting.")

(defun mellum--set (symbol value)
  "Give the setting SYMBOL its VALUE, and tell the server, if there is one."
  (set-default symbol value)
  (run-hooks 'mellum--settings-hook))

(defcustom mellum-enabled t
  "The setting `enabled' of the server.
Whether there are suggestions at all; nil stops all inference, and lets the
model go: its memory is free."
  :type 'boolean
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-disabled-languages nil
  "The setting `disabledLanguages' of the server.
LSP language ids without suggestions."
  :type '(repeat string)
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-disabled-in nil
  "The setting `disabledIn' of the server.
`comment', `string': nothing is suggested there while you type.  A
suggestion asked for by a key is always shown; code inside an f-string or a
template is code, a doc string is a string."
  :type '(set (const "comment") (const "string"))
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-model nil
  "The setting `model' of the server.
A model's name, or the whole path of its folder, which must lie outside of
the workspace: LSP does not tell your settings from a workspace's.
`mellum-lsp models use FOLDER' takes any.  nil for the chosen model."
  :type '(choice (const :tag "Default" nil) string)
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-provider "auto"
  "The setting `provider' of the server.
What the model runs on; auto: CUDA for a model that was exported for it,
where CUDA works, else the CPU."
  :type '(choice (const "auto") (const "cpu") (const "cuda") (const "tensorrt") (const "directml") (const "coreml") (const "openvino"))
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-threads nil
  "The setting `threads' of the server.
Threads to compute with; nil for what `mellum-lsp setup', `export' or
`doctor' measured as the fewest that are nearly as fast as any, and until
then for all of two cores, half of more.  Never more than the machine has."
  :type '(choice (const :tag "Default" nil) natnum)
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-context-tokens nil
  "The setting `contextTokens' of the server.
Longest prompt; nil for 768 tokens, fewer where this machine takes longer
than 4 seconds of idle time for them, more where it reads more in 0.4
seconds.  The first prompt at a new place is what it reads in 0.4 seconds."
  :type '(choice (const :tag "Default" nil) natnum)
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-max-tokens 96
  "The setting `maxTokens' of the server.
Longest suggestion, in tokens."
  :type 'natnum
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-log-level nil
  "The setting `logLevel' of the server.
How much to log on stderr; nil for what the environment's MELLUM_LSP_LOG
says, else warnings."
  :type '(choice (const :tag "Default" nil) (const "debug") (const "info") (const "warning") (const "error"))
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-eagerness "balanced"
  "The setting `eagerness' of the server.
How sure a suggestion has to be: it ends at the word with which the
probability that all of it is right would fall below 0.8 (`quiet'), 0.6
\\(`balanced') or 0.45 (`eager'), as the model states it; `always' shows
everything.  A suggestion asked for by a key is always shown."
  :type '(choice (const "quiet") (const "balanced") (const "eager") (const "always"))
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-eagerness-by-language nil
  "The setting `eagernessByLanguage' of the server.
`eagerness' for some LSP language ids: ((\"markdown\" . \"quiet\"))."
  :type '(alist :key-type string :value-type (choice (const "quiet") (const "balanced") (const "eager") (const "always")))
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-learn-gate t
  "The setting `learnGate' of the server.
Whether these probabilities are measured by what you accept: where the model
is less often right than it says, suggestions have to be surer, and the
other way round; see `mellum-lsp stats --gate'."
  :type 'boolean
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-deadline 400
  "The setting `deadline' of the server.
Milliseconds after which the part of a suggestion that is ready is shown;
the rest follows when you pause.  Less than an expression is not shown: then
it takes longer.  0 waits for all of it."
  :type 'natnum
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-state-memory nil
  "The setting `stateMemory' of the server.
Megabytes for what the model has read, so that a cursor that jumps back to a
place waits for nothing; nil for a quarter of the memory that the process
may use."
  :type '(choice (const :tag "Default" nil) natnum)
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-unload-after 30.0
  "The setting `unloadAfter' of the server.
Minutes without typing after which the model leaves the memory; the next
request brings it back, and stays empty itself.  0 keeps the model."
  :type 'number
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-index-workspace t
  "The setting `indexWorkspace' of the server.
Whether files that are not open may be shown to the model; nil: open
documents only."
  :type 'boolean
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-statistics t
  "The setting `statistics' of the server.
Whether it is written down on this machine what became of suggestions, in
numbers and without any code, for `mellum-lsp stats' and for `learnGate';
nil writes nothing."
  :type 'boolean
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-collect-samples nil
  "The setting `collectSamples' of the server.
Whether the code around suggestions, the suggestions, and what you wrote
there are kept as well, up to 100 MB, on this machine, for `python -m
training.feedback'.  Nothing is kept of code with secrets, nor of any file
while `completeIgnoredFiles' is true.  `mellum-lsp stats --purge' removes
it."
  :type 'boolean
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-complete-ignored-files nil
  "The setting `completeIgnoredFiles' of the server.
Whether there are suggestions inside files that `.gitignore' or `.aiignore'
names, or that are named like secrets.  They help no other file all the
same."
  :type 'boolean
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-remote-url nil
  "The setting `remote.url' of the server.
The address of an OpenAI-compatible completions server, such as
`https://gpu.example:8000', whose model suggests as well.  Code is sent
there.  Used once you have run `mellum-lsp remote allow URL': LSP does not
tell your settings from a workspace's.  See docs/remote.md."
  :type '(choice (const :tag "Default" nil) string)
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defcustom mellum-remote-model nil
  "The setting `remote.model' of the server.
The model's name at that server; nil for the only one that it serves."
  :type '(choice (const :tag "Default" nil) string)
  :initialize #'custom-initialize-default
  :set #'mellum--set
  :group 'mellum-server)

(defconst mellum--settings
  '((mellum-enabled :enabled boolean t)
    (mellum-disabled-languages :disabledLanguages array nil)
    (mellum-disabled-in :disabledIn array nil)
    (mellum-model :model string nil)
    (mellum-provider :provider string "auto")
    (mellum-threads :threads integer nil)
    (mellum-context-tokens :contextTokens integer nil)
    (mellum-max-tokens :maxTokens integer 96)
    (mellum-log-level :logLevel string nil)
    (mellum-eagerness :eagerness string "balanced")
    (mellum-eagerness-by-language :eagernessByLanguage object nil)
    (mellum-learn-gate :learnGate boolean t)
    (mellum-deadline :deadline integer 400)
    (mellum-state-memory :stateMemory integer nil)
    (mellum-unload-after :unloadAfter number 30.0)
    (mellum-index-workspace :indexWorkspace boolean t)
    (mellum-statistics :statistics boolean t)
    (mellum-collect-samples :collectSamples boolean nil)
    (mellum-complete-ignored-files :completeIgnoredFiles boolean nil)
    (mellum-remote-url :remote.url string nil)
    (mellum-remote-model :remote.model string nil))
  "Each setting as (SYMBOL KEY TYPE DEFAULT): KEY and TYPE are the server's.")

(provide 'mellum-settings)
;;; mellum-settings.el ends here
