# Hands the variables and the arguments of a script in the folder above to the engine, as one text in the environment.
# Nothing here is meant to be changed.
# 將上層資料夾中腳本的變數交給程式，此檔不需修改。 / 将上层文件夹中脚本的变量交给程序，此文件不需修改。

function Get-AssignedName {
    # The names of the variables that a script assigns at its top level, in the order in which they come.
    param([string] $Path)
    $tokens = $null
    $mistakes = $null
    $tree = [System.Management.Automation.Language.Parser]::ParseFile($Path, [ref] $tokens, [ref] $mistakes)
    $wanted = { param($node) $node -is [System.Management.Automation.Language.AssignmentStatementAst] }
    $names = [ordered] @{}
    foreach ($assignment in $tree.FindAll($wanted, $false)) {
        $left = $assignment.Left
        while ($left -is [System.Management.Automation.Language.AttributedExpressionAst]) {
            $left = $left.Child  # [int] $a = 5
        }
        $targets = @($left)
        if ($left -is [System.Management.Automation.Language.ArrayLiteralAst]) {
            $targets = @($left.Elements)  # $a, $b = 1, 2
        }
        foreach ($target in $targets) {
            if ($target -is [System.Management.Automation.Language.VariableExpressionAst]) {
                $name = $target.VariablePath.UserPath -replace '^(script|local|private|global):', ''
                if ($name -match '^\w+$') {
                    $names[$name] = $true
                }
            }
        }
    }
    return @($names.Keys)
}

function Test-OwnWindow {
    # Whether the Explorer opened this window, which closes when the script ends: by "Run with PowerShell", or because something was
    # dragged onto the .cmd twin, which itself waits only after a double-click and after an error.
    param([bool] $Dragged)
    if ([System.IO.Path]::DirectorySeparatorChar -ne '\' -or $env:ENGINE_NO_PAUSE) {
        return $false
    }
    try {
        $own = Get-CimInstance -ClassName Win32_Process -Filter "ProcessId = $PID"
        $parent = Get-CimInstance -ClassName Win32_Process -Filter "ProcessId = $($own.ParentProcessId)"
        if (-not $Dragged -or $parent.Name -ne "cmd.exe" -or $parent.CommandLine -notmatch ' /c ') {
            return $parent.Name -eq "explorer.exe"
        }
        return (Get-Process -Id $parent.ParentProcessId).ProcessName -eq "explorer"
    } catch {
        return $false
    }
}

function Exit-Script {
    # Ends the script with a status, and keeps a window of its own open until somebody has read it.
    param([int] $Status, [bool] $Dragged = $false)
    if (Test-OwnWindow -Dragged $Dragged) {
        [void] (Read-Host "Press Enter to close this window / 按 Enter 關閉視窗 / 按 Enter 关闭窗口")
    }
    exit $Status
}

function Stop-WithMessage {
    param([string[]] $Lines)
    foreach ($line in $Lines) {
        Write-Host $line
    }
    Exit-Script 1
}

function Invoke-Engine {
    # Runs `python -m engine COMMAND` in the product's folder, and ends the script with its status.
    param([string] $Script, [string] $Command, [object[]] $More = @())
    $ErrorActionPreference = "Stop"
    $windows = [System.IO.Path]::DirectorySeparatorChar -eq '\'
    $root = [System.IO.Path]::GetDirectoryName([System.IO.Path]::GetDirectoryName($Script))
    $python = [System.IO.Path]::Combine($root, ".venv", "bin", "python")
    $setup = "bash scripts/setup.sh"
    $hosts = '^(PYTHON|CONDA|_CE_|VIRTUAL_ENV|UV_)'
    if ($windows) {
        $python = [System.IO.Path]::Combine($root, "python_310", "python.exe")
        $setup = "Install.cmd"
        $hosts = '^(PYTHON|CONDA|_CE_|VIRTUAL_ENV|UV_|PIP_)'
    }
    if (-not (Test-Path -LiteralPath $python -PathType Leaf)) {
        Stop-WithMessage @("error: Python is not here yet ($python)", "hint: run $setup first / 請先執行 $setup / 请先运行 $setup")
    }

    $variables = [ordered] @{}
    foreach ($name in (Get-AssignedName $Script)) {
        $found = Get-Variable -Name $name -Scope 1 -ErrorAction SilentlyContinue
        if ($null -ne $found) {
            $variables[$name] = $found.Value
        }
    }
    $handover = [ordered] @{
        script = $Script
        command = $Command
        edition = [string] $PSVersionTable.PSEdition
        variables = $variables
        arguments = @($More)
    }
    $json = ConvertTo-Json -InputObject $handover -Depth 6 -Compress
    if ($json.Length -gt 32000) {
        Stop-WithMessage @("error: the variables are too long together ($($json.Length) of 32000 characters)", "hint: put long lists into a file")
    }

    # What the host has set for other Pythons is taken away for the engine, and given back to a terminal afterwards.
    $before = @{ ENGINE_HANDOVER = $null; PYTHONNOUSERSITE = $null; PYTHONUTF8 = $null }
    foreach ($entry in @(Get-ChildItem -LiteralPath "Env:")) {
        if ($entry.Name -match $hosts) {
            $before[$entry.Name] = $entry.Value
            Remove-Item -LiteralPath "Env:$($entry.Name)"
        }
    }
    $place = (Get-Location).Path
    $encoding = [Console]::OutputEncoding
    $status = 1
    try {
        $env:ENGINE_HANDOVER = $json
        $env:PYTHONNOUSERSITE = "1"
        $env:PYTHONUTF8 = "1"
        Set-Location -LiteralPath $root
        try {
            [Console]::OutputEncoding = New-Object System.Text.UTF8Encoding $false
        } catch {
            Write-Verbose "there is no console whose encoding could be set"
        }
        $ErrorActionPreference = "Continue"  # the engine's lines on standard error are no errors of this script
        $global:LASTEXITCODE = 1  # where Python itself cannot be started
        & $python -s -X utf8 -m engine $Command
        $status = $LASTEXITCODE
    } finally {
        $ErrorActionPreference = "SilentlyContinue"  # whatever cannot be put back, the status is told
        Set-Location -LiteralPath $place
        try {
            [Console]::OutputEncoding = $encoding
        } catch {
            Write-Verbose "there is no console whose encoding could be set"
        }
        foreach ($name in @($before.Keys)) {
            if ($null -eq $before[$name]) {
                Remove-Item -LiteralPath "Env:$name"
            } else {
                Set-Item -LiteralPath "Env:$name" -Value $before[$name]
            }
        }
    }
    Exit-Script $status -Dragged ($status -eq 0 -and @($More).Count -gt 0)
}
