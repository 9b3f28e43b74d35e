import { Module } from '@nestjs/common';
import { GuardedController } from './guarded.controller';
import { GuardedService } from './guarded.service';

@Module({ controllers: [GuardedController], providers: [GuardedService] })
export class GuardedModule {}
